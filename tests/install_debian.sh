#!/bin/sh
# The RTSP tests run against Debian's GStreamer server, those of clips with FFmpeg, those of power loss and of jumps of
# the clock with strace and faketime. Installs them where that is possible; else those tests are skipped.
if /usr/bin/python3 -c 'import gi; gi.require_version("GstRtspServer", "1.0")' 2>/dev/null &&
    command -v ffmpeg >/dev/null && command -v strace >/dev/null && command -v faketime >/dev/null; then
    exit 0
fi
packages="python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good
          gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly ffmpeg strace faketime"
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing an RTSP server, FFmpeg, strace and faketime for the tests …"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
else
    echo "no RTSP server, FFmpeg, strace or faketime here: their tests will be skipped; to run them: sudo apt-get install" $packages
fi
