#!/bin/sh
# Debian's libraries for another architecture in a folder of their own, for `make CROSS=… SYSROOT=FOLDER`.
# Nothing on this system changes, not even apt's lists: some of these packages cannot be installed beside
# those of another processor.
# usage: foreign_root.sh ARCHITECTURE FOLDER     Debian's name of it: arm64, i386
set -e
packages="libc6-dev libgomp1 libopenblas-openmp-dev libhdf5-dev libsndfile1-dev libsamplerate0-dev \
    libcjson-dev libcmocka-dev zlib1g-dev libxxhash-dev libmpg123-dev libflac-dev libpng-dev liblzma-dev libgemmlowp-dev libstdc++-12-dev"
architecture=$1 root=$2
[ -f "$root/complete" ] && exit 0
mkdir -p "$root/debs/partial" "$root/lists/partial"
: >"$root/installed"
here=$(cd "$root" && pwd)
# As if on a machine with nothing installed: everything that is needed is fetched.
apt() {
    apt-get -qq -o Debug::NoLocking=1 -o Dir::State::status="$here/installed" -o Dir::State::lists="$here/lists" \
        -o Dir::Cache::archives="$here/debs" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
        -o APT::Architecture="$architecture" -o APT::Architectures::="$architecture" "$@"
}
apt update
# shellcheck disable=SC2086
apt install -y --download-only --no-install-recommends $packages
for deb in "$here"/debs/*.deb; do dpkg-deb -x "$deb" "$here"; done
rm -r "$here/debs" "$here/lists"
# Links from the root of the file system are meant from this one's.
find "$here" -lname '/*' | while read -r link; do ln -sfn "$here$(readlink "$link")" "$link"; done
# What update-alternatives would choose.
cd "$here"/usr/lib/*-linux-gnu
ln -sf hdf5-serial.pc pkgconfig/hdf5.pc
ln -sf ../openblas-openmp/pkgconfig/openblas.pc pkgconfig/openblas.pc
touch "$here/complete"
