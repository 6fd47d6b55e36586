#!/bin/sh
# The RTSP tests run against Debian's GStreamer server, and those of clips with FFmpeg. Installs both where that is
# possible; else those tests are skipped.
if /usr/bin/python3 -c 'import gi; gi.require_version("GstRtspServer", "1.0")' 2>/dev/null &&
    command -v ffmpeg >/dev/null; then
    exit 0
fi
packages="python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good
          gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly ffmpeg"
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing an RTSP server and FFmpeg for the tests …"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
else
    echo "no RTSP server or FFmpeg here: their tests will be skipped; to run them: sudo apt-get install" $packages
fi
