"""Who may do what: keys and their roles, keys that are removed, and the socket of a user's own."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq.auth

from longwatch.clients import Client, keys
from longwatch.clients.errors import BadAddress, BadKeys, ClientError, ClientTimeout, DaemonUnreachable, Refused
from longwatch.daemon.errors import ConfigError, NotAllowed
from longwatch.daemon.keyring import KeyRing
from longwatch.daemon.reach import reach
from longwatch.daemon.server.server import Server
from longwatch.daemon.settings import ServerConfig

from .wire import EchoService, Wire, running


@contextmanager
def guarded(folder: Path, kind: str = "tcp") -> Iterator[Wire]:
    with running(kind, keys_folder=folder) as wire:
        yield wire


@pytest.mark.parametrize("kind", ["tcp", "ipc"])
def test_a_key_that_may_ask_asks_and_one_that_may_manage_does_all(tmp_path: Path, kind: str) -> None:
    (asker,) = keys.make(tmp_path, 1, "ask")
    _, manager = keys.make(tmp_path, 2, "manage")
    with guarded(tmp_path, kind) as wire:
        with wire.client(asker) as client:
            assert client.ask("who came?").text == "who came?"
            assert client.status().version == "0"
            assert client.events_since(0).events == []
            for forbidden in (
                lambda: client.add_stream("gate", url="scene://"),
                lambda: client.remove_stream("yard"),
                lambda: client.forget("yard", 0, 1),
            ):
                with pytest.raises(Refused, match="this key may ask, but not manage") as refused:
                    forbidden()
                assert refused.value.code == "not_allowed"
        assert list(wire.service.streams) == ["yard"]
        with wire.client(manager) as client:
            client.add_stream("gate", url="scene://")
            assert list(wire.service.streams) == ["yard", "gate"]
            client.remove_stream("gate")
            assert client.forget("yard", 0, 1) == 0


def test_a_key_without_a_role_as_older_versions_made_them_may_manage(tmp_path: Path) -> None:
    (own,) = keys.make(tmp_path, 1, "ask")
    file = tmp_path / "clients" / "client-1.key"
    file.write_text("".join(line for line in file.read_text().splitlines(keepends=True) if "role" not in line))
    with guarded(tmp_path) as wire, wire.client(own) as client:
        client.add_stream("gate", url="scene://")
    assert keys.role_of(tmp_path, own) == "may ask and manage"


def test_a_role_that_is_changed_holds_without_a_restart(tmp_path: Path) -> None:
    (own,) = keys.make(tmp_path, 1, "manage")
    with guarded(tmp_path) as wire, wire.client(own) as client:
        client.add_stream("gate", url="scene://")
        file = tmp_path / "clients" / "client-1.key"
        file.write_text(file.read_text().replace('"manage"', '"ask"'))
        wire.eventually(lambda: _may_only_ask(client))


def test_who_has_a_new_key_gets_in_and_whose_key_is_removed_is_put_out_without_a_restart(tmp_path: Path) -> None:
    first, second = keys.make(tmp_path, 2)
    with guarded(tmp_path) as wire, wire.client(first) as stays, wire.client(second, timeout_seconds=1) as goes:
        assert goes.ask("am I in?").text == "am I in?"
        heard: list[str] = []
        listening = threading.Thread(target=_listen, args=(wire, second, heard), daemon=True)
        listening.start()
        wire.eventually(lambda: _publish(wire, "before") or "before" in heard)
        pieces = goes.ask_stream("wait")
        assert next(pieces) == "wait "
        (tmp_path / "clients" / "client-2.key").unlink()
        event = wire.service.cancelled[next(reversed(wire.service.cancelled))]
        assert event.wait(5)  # its answer is worked on no more
        with pytest.raises((ClientTimeout, DaemonUnreachable)):
            _read_on(pieces)
        with pytest.raises((ClientTimeout, DaemonUnreachable)):
            goes.ask("am I in?")
        wire.eventually(lambda: not listening.is_alive())
        del heard[:]
        _publish(wire, "after")
        assert stays.ask("and I?").text == "and I?"
        assert heard == []
        *_, third = keys.make(tmp_path, 3)
        assert not (tmp_path / "clients" / "client-2.key").exists()  # removed is removed
        with wire.client(third) as client:
            assert client.ask("and I, at once?").text == "and I, at once?"


@pytest.mark.parametrize(
    "line", ["role = ask", "role = 'ask'", 'role = "ask"  # only asks', 'Role = "manage"', 'role: "manage"', "role ="]
)
def test_a_role_that_cannot_be_read_makes_a_key_less_and_both_sides_say_so(tmp_path: Path, line: str) -> None:
    (own,) = keys.make(tmp_path, 1, "manage")
    file = tmp_path / "clients" / "client-1.key"
    file.write_text(file.read_text().replace('role = "manage"', line))
    with guarded(tmp_path) as wire, wire.client(own) as client:
        assert _may_only_ask(client)
        assert client.ask("and this?").text == "and this?"
    assert keys.role_of(tmp_path, own) == "may ask"


def test_a_file_that_cannot_be_read_or_that_others_can_change_lets_nobody_in_and_holds_up_no_removal(
    tmp_path: Path,
) -> None:
    made = keys.make(tmp_path, 4)
    clients, ring = tmp_path / "clients", KeyRing(tmp_path)
    one, two, three, four = (zmq.auth.load_certificate(own / "client.key")[0].decode() for own in made)
    (clients / "old.key").symlink_to("/nonexistent")
    os.mkfifo(clients / "pipe.key", 0o600)
    (clients / "folder.key").mkdir()
    (clients / "client-1.key").unlink()
    (clients / "client-2.key").chmod(0o666)
    (clients / "client-3.key").write_bytes(b"\xff\xfe")
    ring.read_again()
    assert [ring.role(key) for key in (one, two, three, four)] == [None, None, None, "manage"]
    assert ring.take_removed() == {one, two, three}
    (clients / "client-2.key").chmod(0o600)
    assert ring.lets_in(four)
    ring.read_again()
    assert ring.role(two) == "manage"
    tmp_path.chmod(0o777)
    ring.read_again()
    assert ring.take_removed() == {two, four}


def _may_only_ask(client: Client) -> bool:
    try:
        client.add_stream("gate", url="scene://")
    except Refused as refused:
        return refused.code == "not_allowed"
    return False


def _read_on(pieces: Iterator[object]) -> None:
    for _ in pieces:
        pass


def _listen(wire: Wire, folder: Path, heard: list[str]) -> None:
    """Hears events until the daemon is not reached any more."""
    with wire.client(folder, timeout_seconds=1) as client, contextlib.suppress(ClientError):
        heard.extend(event.text for event in client.events(wire.config.events_address, quiet_seconds=0.5))


def _publish(wire: Wire, text: str) -> None:
    wire.server.publish("yard", "block", 0, 0, text)


def test_keys_that_others_can_read_or_change_are_refused_in_one_sentence(tmp_path: Path) -> None:
    (own,) = keys.make(tmp_path, 1)
    config = ServerConfig(address="tcp://127.0.0.1:*", events_address="tcp://127.0.0.1:*", keys_folder=str(tmp_path))
    for path, mode, done in (
        (tmp_path / "server.key_secret", 0o640, "read"),
        (tmp_path, 0o777, "changed"),
        (tmp_path / "clients", 0o770, "changed"),
        (tmp_path / "clients" / "client-1.key", 0o666, "changed"),
    ):
        before = path.stat().st_mode
        path.chmod(mode)
        with pytest.raises(ConfigError, match=f"{path} can be {done} by others; run chmod go-rwx {path}"):
            Server(config, EchoService())
        path.chmod(before)
    (own / "client.key_secret").chmod(0o644)
    with pytest.raises(BadKeys, match=r"client\.key_secret can be read by others; run chmod go-rwx "):
        Client(keys_folder=str(own))


def test_without_another_address_only_the_same_user_gets_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    server = Server(ServerConfig(), EchoService())
    server.start()
    folder = tmp_path / "longwatch"
    assert folder.stat().st_mode & 0o777 == 0o700
    with Client() as client:
        assert client.address == f"ipc://{folder}/requests"
        assert client.ask("is it me?").text == "is it me?"
        server.publish("yard", "block", 0, 0, "heard")
        assert next(client.events(after=0)).text == "heard"
    server.stop()


def test_a_folder_that_others_can_enter_or_that_is_none_is_refused_by_both_sides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folder = tmp_path / "longwatch"
    folder.mkdir(mode=0o755)
    with pytest.raises(ConfigError, match=f"{folder}, .* is open to others; run chmod 700 {folder}"):
        Server(ServerConfig(), EchoService())
    with pytest.raises(BadAddress, match="is open to others"):
        Client()
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=f"{folder}, .* belongs to another user; remove it"):
        Server(ServerConfig(), EchoService())


def test_a_client_finds_a_daemon_that_was_started_without_a_runtime_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    fallback = reach("own", "requests")
    assert fallback.startswith("ipc:///tmp/longwatch-")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    there = Path(fallback.removeprefix("ipc://")).exists()
    assert reach("own", "requests") == (fallback if there else f"ipc://{tmp_path}/longwatch/requests")


@pytest.mark.parametrize("runtime", ["another's", "x" * 95])
def test_a_runtime_folder_that_is_another_s_or_too_long_for_a_socket_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    folder = Path("/proc/1") if runtime == "another's" else tmp_path / runtime
    if runtime == "another's":
        monkeypatch.setattr(os, "getuid", lambda: 4242)
    else:
        folder.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    assert reach("own", "requests") == f"ipc:///tmp/longwatch-{os.getuid()}/requests"


@pytest.mark.parametrize(
    ("given", "keys_folder", "kinds"),
    [
        ([], "", "network scene file webcam"),
        ([], "keys", "network scene"),
        (["scene"], "keys", "scene"),
        (["file"], "", "file"),
    ],
)
def test_a_daemon_with_keys_adds_streams_from_no_files_unless_told(
    given: list[str], keys_folder: str, kinds: str
) -> None:
    config = ServerConfig(streams_from=given, keys_folder=keys_folder)  # type: ignore[arg-type]
    for kind in kinds.split():
        config.check_kind(kind)
    for kind in {"network", "scene", "file", "webcam"}.difference(kinds.split()):
        with pytest.raises(NotAllowed, match=f"from {kinds.replace(' ', ', ')}, not from a {kind};"):
            config.check_kind(kind)
