#!/bin/bash
# Makes a stand-in for the official image python:3.12-slim-bookworm, where no registry of images can be reached:
# Debian by debootstrap, with the Python 3.12 of this machine, which must run Debian 12, too.
set -eu -o pipefail

python=${PYTHON:-python3.12}
image=docker.io/library/python:3.12-slim-bookworm

libraries=ca-certificates,libbz2-1.0,libffi8,liblzma5,libncursesw6,libreadline8,libsqlite3-0,libssl3,libuuid1,netbase,tzdata,zlib1g
prefix=$("$python" -c 'import sys; print(sys.base_prefix)')
version=$("$python" -c 'import platform; print(platform.python_version())')

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
debootstrap --variant=minbase --include="$libraries" bookworm "$root" http://deb.debian.org/debian
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/*
rm -rf "$root"/usr/share/locale/* "$root"/usr/share/man/* # as the official image leaves out

mkdir -p "$root/usr/local/lib"
cp -a "$prefix/bin/python3.12" "$root/usr/local/bin/"
ln -s python3.12 "$root/usr/local/bin/python3"
ln -s python3.12 "$root/usr/local/bin/python"
tar -C "$prefix/lib" --exclude=site-packages --exclude=test --exclude=tests --exclude=idle_test --exclude='*.pyc' \
	--exclude='config-3.12*' --exclude='*.a' -cf - python3.12 | tar -C "$root/usr/local/lib" -xf -
find "$prefix/lib" -maxdepth 1 -name 'libpython3.12.so*' -exec cp -a {} "$root/usr/local/lib/" \;
find "$root/usr/local" -name '*.so*' -type f -exec strip --strip-unneeded {} +
mkdir -p "$root/usr/local/lib/python3.12/site-packages"
chown -R 0:0 "$root/usr/local"
chroot "$root" ldconfig
chroot "$root" /usr/local/bin/python3 -m ensurepip --upgrade >/dev/null
ln -sf pip3 "$root/usr/local/bin/pip"
# What this machine trusts, so that pip reaches in a build whatever it reaches here.
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' >"$root/etc/pip.conf"

container=$(buildah from scratch)
buildah add --quiet "$container" "$root" / >/dev/null
buildah config --env PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin --env LANG=C.UTF-8 \
	--env "PYTHON_VERSION=$version" --cmd python3 "$container"
buildah commit --quiet --rm "$container" "$image" >/dev/null
echo "$image"
