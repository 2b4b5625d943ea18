#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What a recorded machine boots: Debian's own kernel, and an initramfs with
# Debian's busybox, the command, and the libraries it is linked with.
#
#   quire-system-image kernel CACHE                  prints the kernel's path
#   quire-system-image initramfs CACHE OUT MARK -- COMMAND ARGS...
#
# CACHE is a folder of the user's; packages go there once, by `apt-get
# download`, and are unpacked there, never installed. QUIRE_SYSTEM_FILES: more
# files and folders that go in, at the places they have here, one a line.
set -eu

die() {
	echo "quire: $*" >&2
	exit 3
}

# fetch CACHE PACKAGE: unpacks it into CACHE/PACKAGE unless it is there.
fetch() {
	[ -d "$1/$2" ] && return
	command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
		die "this is no Debian system: $2 cannot be downloaded; give --kernel FILE and put busybox into $1/busybox-static/bin"
	tmp=$(mktemp -d "$1/fetch-XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	# As root apt fetches as the user _apt, who may not write here: it warns, and fetches as root.
	(cd "$tmp" && apt-get -q download "$2" >apt.log 2>&1) ||
		die "the package $2 cannot be downloaded: $(tail -n 1 "$tmp/apt.log"); try apt-get update, or give --kernel FILE"
	mkdir "$tmp/x"
	# Of the kernel's package only the kernel: its modules are many.
	dpkg-deb --fsys-tarfile "$tmp"/*.deb | tar -x -C "$tmp/x" --wildcards './boot/vmlinuz-*' './bin/busybox' 2>/dev/null || true
	[ -e "$tmp"/x/boot ] || [ -e "$tmp"/x/bin ] || die "the package $2 holds neither a kernel nor busybox"
	mv "$tmp/x" "$1/$2" 2>/dev/null || [ -d "$1/$2" ]
	rm -rf "$tmp"
	trap - EXIT
}

# A field of the kernel's header (Linux, Documentation/x86/boot.rst), little-endian.
field() {
	od -An -t u"$3" -j "$2" -N "$3" "$1" | tr -d ' '
}

# The kernel within its wrapping, which QEMU starts by its PVH entry: to inflate
# it in the machine takes most of a boot. Where that cannot be, as it came.
unwrap() {
	if [ ! -e "$1.elf" ]; then
		start=$((($(field "$1" 497 1) + 1) * 512 + $(field "$1" 584 4)))
		plain=$(mktemp "$1.tmp-XXXXXX")
		tail -c +$((start + 1)) "$1" | head -c "$(field "$1" 588 4)" | xz -dc >"$plain" 2>/dev/null || true
		if [ "$(head -c 4 "$plain" | tr -d '\177')" = ELF ]; then
			chmod 644 "$plain"
			mv "$plain" "$1.elf"
		else
			rm -f "$plain"
			echo "$1"
			return
		fi
	fi
	echo "$1.elf"
}

kernel() {
	for k in "$1"/linux-image-*/boot/vmlinuz-*; do
		case $k in
		*.elf | *.tmp-*) ;;
		*) [ -e "$k" ] && unwrap "$k" && return ;;
		esac
	done
	command -v apt-cache >/dev/null || die "this is no Debian system: give --kernel FILE"
	name=$(apt-cache depends linux-image-amd64 2>/dev/null | awk '$1 == "Depends:" { print $2; exit }')
	[ -n "$name" ] || die "apt knows no package linux-image-amd64; try apt-get update, or give --kernel FILE"
	fetch "$1" "$name"
	unwrap "$(echo "$1/$name"/boot/vmlinuz-*)"
}

# put FILE: at its own place in the tree, links followed.
put() {
	[ -e "$root$1" ] && return
	mkdir -p "$root$(dirname "$1")"
	cp -aL "$1" "$root$1"
}

# The libraries a program asks its own loader for; nothing for a static one.
libraries() {
	ldd "$1" 2>/dev/null | awk '$1 ~ /^\// { print $1 } $3 ~ /^\// { print $3 }' || true
}

put_program() {
	put "$1"
	read -r first <"$1" 2>/dev/null || true
	case ${first-} in
	'#!'*)
		interpreter=$(echo "${first#\#!}" | awk '{ print $1 }')
		if [ -x "$interpreter" ]; then put_program "$interpreter"; fi
		;;
	esac
	libraries "$1" | while read -r lib; do put "$lib"; done
}

quote() {
	for word; do
		printf "'%s' " "$(printf '%s' "$word" | sed "s/'/'\\\\''/g")"
	done
}

write_init() {
	{
		echo '#!/bin/sh'
		echo 'busybox=/bin/busybox'
		echo '$busybox mkdir -p /proc /sys /dev /tmp /root /bin /sbin /usr/bin /usr/sbin'
		echo '$busybox mount -t devtmpfs dev /dev; $busybox mount -t proc proc /proc; $busybox mount -t sysfs sys /sys'
		echo '$busybox --install -s'
		echo 'export PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME=/root LC_ALL=C'
		echo 'exec </dev/null'
		printf '/quire/mark %s\n' "$(quote "$@")"
		echo 'status=$?'
		echo '/quire/mark'
		echo 'echo $status >/dev/ttyS1'
		echo '$busybox poweroff -f'
	} >"$root/init"
	chmod 755 "$root/init"
}

initramfs() {
	cache=$1 out=$2 mark=$3
	shift 4
	fetch "$cache" busybox-static
	busybox=$cache/busybox-static/bin/busybox
	root=$(mktemp -d "${TMPDIR:-/tmp}/quire-root-XXXXXX")
	trap 'rm -rf "$root"' EXIT
	chmod 755 "$root"
	mkdir -p "$root/bin" "$root/quire" "$root/dev"
	cp "$busybox" "$root/bin/busybox"
	ln -s busybox "$root/bin/sh"
	cp "$mark" "$root/quire/mark"
	program=$(command -v "$1" || true)
	case $program in
	/*)
		put_program "$program"
		shift
		set -- "$program" "$@"
		;;
	*)
		# No program of this machine: one of busybox's.
		"$busybox" --list | grep -qxF -e "$1" || die "$1: not found in PATH, nor in busybox"
		ln -s busybox "$root/bin/$1" 2>/dev/null || true
		program=/bin/$1
		shift
		set -- "$program" "$@"
		;;
	esac
	printf '%s\n' "${QUIRE_SYSTEM_FILES-}" | while read -r file; do
		[ -z "$file" ] && continue
		[ -e "$file" ] || die "$file: no such file"
		case $file in /*) ;; *) file=$PWD/$file ;; esac
		if [ -d "$file" ]; then
			mkdir -p "$root$file"
			cp -aL "$file/." "$root$file/"
		elif [ -x "$file" ]; then
			put_program "$file"
		else
			put "$file"
		fi
	done
	write_init "$@"
	# The same files make the same bytes: the machine's memory must not tell when or where it was made.
	find "$root" -exec touch -h -d @0 {} +
	(cd "$root" && find . | LC_ALL=C sort | "$busybox" cpio -o -H newc -R 0:0 --ignore-devno --renumber-inodes 2>/dev/null) >"$out"
}

[ $# -ge 2 ] || die "usage: quire-system-image kernel|initramfs CACHE ..."
what=$1
shift
mkdir -p "$1"
case $what in
kernel) kernel "$1" ;;
initramfs) initramfs "$@" ;;
*) die "no such task: $what" ;;
esac
