"""File modes: what this user may not read or write is one sentence, and left as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from longwatch.memory.errors import StorageError
from longwatch.memory.store import Store

from .blocks import make_block
from .rights import like_any_user
from .test_store import bytes_under, config, memory

BOOK, STREAM, DAY = "store.book", "yard", "yard/2026-03-02"


def test_files_that_are_not_the_stores_own_keep_their_rights_and_stay(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    (folder / "photos" / "2026-03-01").mkdir(parents=True)
    (folder / "photos" / "2026-03-02").mkdir()
    others = [folder / "photos" / "a.jpg", folder / "photos" / "2026-03-01" / "index", folder / "notes.txt"]
    others.append(others[1].with_name("b.jpg"))
    for path in others:
        path.write_text("somebody's own")
    others += [folder, folder / "photos", folder / "photos" / "2026-03-01", folder / "photos" / "2026-03-02"]
    for path in others:
        path.chmod(0o755)
    for _ in range(2):
        with memory(folder) as tiers:
            assert tiers.store.notices == []
            tiers.spill("yard", make_block(1))
    assert all(path.stat().st_mode & 0o777 == 0o755 for path in others)
    own = [*folder.glob("store.*"), *(folder / "store.book").iterdir(), folder / "yard", *(folder / "yard").rglob("*")]
    assert len(own) == 6
    for path in own:
        path.chmod(0o755)
    with memory(folder) as tiers:
        assert any("6 files and folders" in notice for notice in tiers.store.notices)
    assert not any(path.stat().st_mode & 0o077 for path in own)
    assert all(path.stat().st_mode & 0o777 == 0o755 for path in others)


@pytest.mark.parametrize(
    ("shut", "mode", "broken", "said"),
    [
        (BOOK, 0o000, "", f"{BOOK}/data.mdb cannot be looked into: Permission denied; make it readable"),
        (f"{BOOK}/data.mdb", 0o000, "", f"{BOOK}/data.mdb cannot be read: Permission denied; it is left as it is"),
        (BOOK, 0o500, BOOK, f"{BOOK}/data.mdb is broken and cannot be set aside: Permission denied; make its folder"),
        (STREAM, 0o000, "", f"{STREAM} cannot be looked into: Permission denied; make it readable"),
        (STREAM, 0o600, "", f"{DAY} cannot be looked into: Permission denied; make it readable"),
        (DAY, 0o000, "", f"{DAY} cannot be looked into: Permission denied; make it readable"),
        (DAY, 0o600, "", f"{DAY}/data.mdb cannot be looked into: Permission denied; make it readable"),
        (DAY, 0o500, DAY, f"{DAY}/data.mdb is broken and cannot be set aside: Permission denied; make its folder"),
        (f"{DAY}/data.mdb", 0o400, "", f"{DAY}: Permission denied; it is left as it is"),
    ],
)
def test_what_may_not_be_used_keeps_the_store_shut_in_one_sentence(
    tmp_path: Path, shut: str, mode: int, broken: str, said: str
) -> None:
    with memory(tmp_path) as tiers:
        tiers.spill("yard", make_block(1))
    if broken:
        (tmp_path / broken / "data.mdb").write_bytes(b"broken" * 2000)
    before, usual = bytes_under(tmp_path), (tmp_path / shut).stat().st_mode
    (tmp_path / shut).chmod(mode)
    try:
        with like_any_user(), pytest.raises(StorageError) as refused:
            Store(config(tmp_path))
    finally:
        (tmp_path / shut).chmod(usual)
    assert said in str(refused.value)
    after = bytes_under(tmp_path)
    assert after == before
