#!/bin/sh
# The RTSP tests run against Debian's GStreamer server. Installs it where that is possible; else they are skipped.
if /usr/bin/python3 -c 'import gi; gi.require_version("GstRtspServer", "1.0")' 2>/dev/null; then
    exit 0
fi
packages="python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good
          gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly"
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing an RTSP server for the tests …"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
else
    echo "no RTSP server here: its tests will be skipped; to run them: sudo apt-get install" $packages
fi
