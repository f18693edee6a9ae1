#!/bin/sh
# Debian's libraries for 64-bit Arm in a folder of their own, for `make CROSS=aarch64-linux-gnu-
# SYSROOT=FOLDER`. Nothing on this system changes: some of these packages cannot be installed beside
# those of another processor. apt must know the architecture: dpkg --add-architecture arm64; apt-get update
# usage: arm_root.sh FOLDER
set -e
packages="libc6-dev libgomp1 libopenblas-openmp-dev libhdf5-dev libsndfile1-dev libsamplerate0-dev \
    libcjson-dev libcmocka-dev zlib1g-dev libxxhash-dev libmpg123-dev libflac-dev libpng-dev liblzma-dev libgemmlowp-dev libstdc++-12-dev"
root=$1
[ -f "$root/complete" ] && exit 0
mkdir -p "$root/debs/partial"
: >"$root/installed"
here=$(cd "$root" && pwd)
# As if on a machine with nothing installed: everything that is needed is fetched.
# shellcheck disable=SC2086
apt-get install -y -qq --download-only --no-install-recommends -o Debug::NoLocking=1 \
    -o Dir::State::status="$here/installed" -o Dir::Cache::archives="$here/debs" \
    -o APT::Architecture=arm64 -o APT::Architectures::=arm64 $packages
for deb in "$here"/debs/*.deb; do dpkg-deb -x "$deb" "$here"; done
rm -r "$here/debs"
# What update-alternatives would choose.
cd "$here/usr/lib/aarch64-linux-gnu"
ln -sf hdf5-serial.pc pkgconfig/hdf5.pc
ln -sf ../openblas-openmp/pkgconfig/openblas.pc pkgconfig/openblas.pc
touch "$here/complete"
