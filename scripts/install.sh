#!/bin/sh
# Installs flanneld: the executable, its unit, Docker's drop-in, mk-docker-opts.sh, its ports by name for
# firewalld and ufw, what keeps NetworkManager and systemd-networkd away from its devices, the man page and
# completions. Runs under any POSIX shell:
#
#   curl -fsSL URL/install.sh | sh -s -- --url=URL
#
# Installs everything or nothing. All code is in functions, called in the last line: of a
# script that was truncated by the download, nothing runs.

set -eu
LC_ALL=C
export LC_ALL

usage() {
	cat <<-'EOT'
		Usage: install.sh [options]

		Installs flanneld from a release: a directory or web address that holds SHA256SUMS and
		flanneld-VERSION-linux-ARCH.tar.gz; where the host's C library is older than glibc 2.27 or
		another one, flanneld-VERSION-linux-ARCH-bundled.tar.gz, which brings its own. Without --url
		and --tarball it installs what it was unpacked with.

		  --url=URL        web address of the release (https://, http:// or file://)
		  --tarball=FILE   take this tarball instead; SHA256SUMS beside it, or --sha256
		  --sha256=HEX     checksum of the tarball, instead of the one in SHA256SUMS
		  --version=V      version to take where the release holds several
		  --bundled-libc   take the tarball of --url that brings its own C library
		  --prefix=DIR     where to install (default /usr); the unit is made to fit
		  --root=DIR       install below DIR, as if it were /
		  --dry-run        print what would be done, and change nothing
		  --uninstall      remove all installed files; /etc/sysconfig/flanneld stays if it was edited
		  -h, --help       print this

		Exit codes: 0 done, 1 failed and nothing changed, 2 usage error.
	EOT
}

say() { printf '%s\n' "install.sh: $*"; }

fail() {
	printf '%s\n' "install.sh: $*" >&2
	exit 1
}

wrong() {
	printf '%s\n' "install.sh: $*" "Try install.sh --help" >&2
	exit 2
}

have() { command -v "$1" >/dev/null 2>&1; }

# The machine, as the tarballs' names have it.
architecture() {
	machine=$(uname -m)
	case $machine in
	x86_64 | amd64) echo x86_64 ;;
	aarch64 | arm64) echo aarch64 ;;
	*) fail "there is no flanneld for this machine: $machine; there is one for x86_64 and aarch64" ;;
	esac
}

# True where the C library is glibc 2.27 or newer, which the executable needs that does not bring its own.
has_new_glibc() {
	glibc=
	if have getconf; then glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null) || :; fi
	if [ -z "$glibc" ]; then
		for file in /lib64/libc.so.6 /lib/*-linux-gnu/libc.so.6 /usr/lib/libc.so.6; do
			[ -x "$file" ] || continue
			glibc=$("$file" 2>/dev/null | sed -n '1s/.*release version \([0-9.]*[0-9]\).*/\1/p') || :
			[ -z "$glibc" ] || break
		done
	fi
	glibc=${glibc##* }
	case $glibc in
	[0-9]*) ;;
	*) glibc= ;; # musl's getconf: undefined
	esac
	is_at_least "$glibc" 2 27
}

# is_at_least VERSION MAJOR MINOR
is_at_least() {
	major=${1%%.*}
	minor=${1#*.}
	minor=${minor%%[!0-9]*}
	case $major in
	'' | *[!0-9]*) return 1 ;;
	esac
	[ "$major" -gt "$2" ] || { [ "$major" = "$2" ] && [ "${minor:-0}" -ge "$3" ]; }
}

# True where systemd does not know the newer unit, whose directives are of up to version 235.
has_old_systemd() {
	have systemctl || return 1
	systemd=$(systemctl --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
	[ -n "$systemd" ] && [ "$systemd" -lt 235 ]
}

sha256_of() {
	if have sha256sum; then sum=$(sha256sum <"$1")
	elif have openssl; then sum=$(openssl dgst -sha256 -r <"$1")
	else fail "neither sha256sum nor openssl is there to check what was downloaded"
	fi
	printf '%s\n' "${sum%% *}"
}

# download URL FILE
download() {
	case $1 in
	file://*)
		cp "${1#file://}" "$2" || fail "cannot read ${1#file://}"
		return
		;;
	esac
	# An https:// address is not followed to another protocol, also after a redirection.
	case $1 in
	https://*) protocols='=https' ;;
	*) protocols='=http,https' ;;
	esac
	if have curl; then
		curl --fail --silent --show-error --location --proto "$protocols" --retry 2 --connect-timeout 20 \
			--output "$2" "$1" || fail "cannot download $1"
	elif have wget && [ "$protocols" != '=https' ]; then
		wget -q -O "$2" "$1" || fail "cannot download $1"
	elif have wget; then
		# wget follows a redirection to http, and busybox's wget has no option against it.
		wget --help 2>&1 | grep -q max-redirect ||
			fail "this wget may follow a redirection to http; install curl, or get the tarball and use --tarball"
		wget -q --max-redirect=0 -O "$2" "$1" ||
			fail "cannot download $1; if it redirects, install curl, or get the tarball and use --tarball"
	else
		fail "neither curl nor wget is there to download with; get the tarball and use --tarball"
	fi
}

# Removes what was put beside its place but not yet in it, and the directories made for that.
clean() {
	status=$?
	trap '' HUP INT TERM
	if [ -n "${work-}" ]; then
		if [ -f "$work/pending" ]; then
			while IFS= read -r file; do rm -f "$file"; done <"$work/pending"
		fi
		if [ "$status" != 0 ] && [ -f "$work/made" ]; then
			sort -r "$work/made" | while IFS= read -r dir; do rmdir "$dir" 2>/dev/null || :; done
		fi
		rm -rf "$work"
	fi
	exit "$status"
}

# make_directory DIR: as mkdir -p, and remembers what was not there.
make_directory() {
	[ ! -d "$1" ] || return 0
	make_directory "$(dirname "$1")" || return 1
	mkdir "$1" || return 1
	printf '%s\n' "$1" >>"$work/made"
	chmod 755 "$1"
}

# Finds the tarball's line in a SHA256SUMS file: sets `name` and `expected`.
choose() {
	arch=$(architecture)
	kind=
	# There is no such tarball for another machine.
	if [ "$arch" = x86_64 ] && { [ -n "$bundled" ] || ! has_new_glibc; }; then kind=-bundled; fi
	pattern="flanneld-${version:-*}-linux-$arch$kind.tar.gz"
	name=
	while read -r sum file; do
		file=${file#\*}
		# shellcheck disable=SC2254 # a pattern is meant
		case $file in
		$pattern)
			[ -z "$name" ] || fail "$2 holds several versions; choose one with --version"
			name=$file
			expected=$sum
			;;
		esac
	done <"$1"
	[ -n "$name" ] || fail "$2 holds no flanneld${version:+ $version} for $arch${kind:+ with its own C library}"
	[ -z "$kind" ] || [ -n "$bundled" ] ||
		say "the C library of this host is ${glibc:+glibc }${glibc:-not glibc}: taking the build that brings its own"
}

# Fetches, checks and unpacks; sets `tree`, the directory that holds usr/ and etc/.
fetch() {
	if [ -z "$url$tarball" ]; then
		tree=$(cd "$(dirname "$0")" && pwd)
		[ -f "$tree/usr/bin/flanneld" ] ||
			wrong "nothing to install: give --url or --tarball, or run the install.sh of an unpacked tarball"
		return
	fi
	expected=$sha256
	if [ -n "$tarball" ]; then
		[ -f "$tarball" ] || fail "$tarball is not there"
		# Checks and unpacks a copy, because another user may be able to write to the tarball.
		archive=$work/$(basename "$tarball")
		cp "$tarball" "$archive" || fail "cannot read $tarball"
		if [ -z "$expected" ]; then
			sums=$(dirname "$tarball")/SHA256SUMS
			[ -f "$sums" ] || fail "no checksum for $tarball: give --sha256, or put SHA256SUMS beside it"
			expected=$(sed -n "s/^\([0-9a-f]\{64\}\) [ *]$(basename "$tarball" | sed 's/\./\\./g')\$/\1/p" "$sums")
			[ -n "$expected" ] || fail "$sums does not name $(basename "$tarball")"
		fi
	else
		url=${url%/}
		download "$url/SHA256SUMS" "$work/SHA256SUMS"
		choose "$work/SHA256SUMS" "$url/SHA256SUMS"
		[ -z "$sha256" ] || expected=$sha256
		archive=$work/$name
		say "downloading $url/$name"
		download "$url/$name" "$archive"
	fi
	actual=$(sha256_of "$archive")
	[ "$actual" = "$expected" ] ||
		fail "$(basename "$archive") is not what it should be: its SHA-256 is $actual, not $expected"
	mkdir "$work/unpacked"
	tar -xzf "$archive" -C "$work/unpacked" || fail "cannot unpack $(basename "$archive")"
	tree=$(echo "$work"/unpacked/*)
	[ -f "$tree/usr/bin/flanneld" ] || fail "$(basename "$archive") holds no usr/bin/flanneld"
}

# Prints the path of a tarball's file below the root.
place() {
	case $1 in
	usr/lib/systemd/system/*)
		if [ "$prefix" = /usr ]; then echo "/$1"
		else echo "/etc/systemd/system/${1#usr/lib/systemd/system/}"
		fi
		;;
	usr/lib/flanneld/*) echo "/$1" ;; # the executable names it
	usr/lib/tmpfiles.d/* | usr/lib/modules-load.d/*)
		if [ "$prefix" = /usr ]; then echo "/$1"
		else echo "/etc/${1#usr/lib/}"
		fi
		;;
	usr/lib/systemd/network/*)
		if [ "$prefix" = /usr ]; then echo "/$1"
		else echo "/etc/systemd/network/${1#usr/lib/systemd/network/}"
		fi
		;;
	usr/lib/NetworkManager/*)
		if [ "$prefix" = /usr ]; then echo "/$1"
		else echo "/etc/NetworkManager/${1#usr/lib/NetworkManager/}"
		fi
		;;
	usr/lib/firewalld/*)
		if [ "$prefix" = /usr ]; then echo "/$1"
		else echo "/etc/firewalld/${1#usr/lib/firewalld/}"
		fi
		;;
	usr/*) echo "${prefix%/}/${1#usr/}" ;;
	*) echo "/$1" ;;
	esac
}

# Lets what names /usr/bin and /usr/libexec name the prefix.
fit() {
	[ "$prefix" != /usr ] || return 0
	unit=$(source_of usr/lib/systemd/system/flanneld.service)
	fitted=$work/unit
	sed "s#/usr/bin/flanneld#${prefix%/}/bin/flanneld#; s#/usr/libexec/flannel/#${prefix%/}/libexec/flannel/#" \
		"$unit" >"$fitted"
}

# source_of FILE: prints the source path of a tarball's file.
source_of() {
	case $1 in
	usr/lib/systemd/system/flanneld.service)
		if [ -n "$fitted" ]; then
			echo "$fitted"
			return
		fi
		;;
	esac
	if [ -n "$old_systemd" ] && [ -f "$tree/systemd-219/$1" ]; then echo "$tree/systemd-219/$1"
	else echo "$tree/$1"
	fi
}

# Makes sure that the executable runs here; sets `found`, its version, and `loader` where it brings its C library.
check() {
	status=0
	if [ -f "$tree/usr/lib/flanneld/ld.so" ]; then
		# It names the loader's place after the installation, so here its libraries alone are checked.
		libraries=$tree/usr/lib/flanneld
		loader=$libraries/ld.so
		"$loader" --library-path "$libraries" --list "$tree/usr/bin/flanneld" >/dev/null 2>"$work/refused" || status=$?
		found=$(cat "$libraries/version")
		hint=
	else
		found=$("$tree/usr/bin/flanneld" -version 2>"$work/refused") || status=$?
		hint=", which needs glibc 2.27 or newer or, on x86_64, the tarball -bundled.tar.gz"
	fi
	case $status in
	0) ;;
	126) fail "no program may be run in $tree: set TMPDIR to a directory that is not mounted noexec" ;;
	*) fail "this machine does not run flanneld$hint: $(grep . "$work/refused" | tail -n 1)" ;;
	esac
}

# Puts all files beside their places, and then, when all are there, into them.
install_files() {
	: >"$work/pending"
	: >"$work/made"
	: >"$work/manifest"
	: >"$work/moves"
	changed=0
	{
		(cd "$tree" && find usr etc -type f)
		[ -z "$old_systemd" ] || (cd "$tree/systemd-219" && find usr -type f)
	} | sort -u >"$work/all"
	# networkd before 233 would take the key of that file for none, and manage the devices that it names.
	if [ -n "$old_systemd" ]; then grep -v '^usr/lib/systemd/network/' "$work/all" >"$work/files"
	else cp "$work/all" "$work/files"
	fi
	while IFS= read -r file; do
		target=$(place "$file")
		source=$(source_of "$file")
		printf '%s  %s\n' "$(sha256_of "$source")" "$target" >>"$work/manifest"
		if [ -f "$root$target" ]; then
			! cmp -s "$source" "$root$target" || continue
			case $file in
			etc/*)
				say "kept $root$target, which is yours"
				continue
				;;
			esac
		fi
		[ ! -e "$root$target" ] || [ -f "$root$target" ] || fail "$root$target is in the way: it is no file"
		changed=$((changed + 1))
		if [ -n "$dry_run" ]; then
			say "would write $root$target"
			continue
		fi
		put_beside "$source" "$target" "$(mode_of "$file")"
	done <"$work/files"
	manifest=${prefix%/}/libexec/flannel/installed
	if [ -n "$dry_run" ]; then
		link_plugin
		shut_settings
		[ "$changed" != 0 ] || say "would change nothing: flanneld $found is installed in $prefix"
		return
	fi
	if [ ! -f "$root$manifest" ] || ! cmp -s "$work/manifest" "$root$manifest"; then
		put_beside "$work/manifest" "$manifest" 644
	fi
	if [ ! -s "$work/moves" ]; then
		link_plugin
		shut_settings
		say "flanneld $found is installed in $prefix already"
		return
	fi
	# From here on only renames follow, which must not be interrupted.
	trap '' HUP INT TERM
	: >"$work/done"
	while IFS= read -r target; do
		beside=$(beside_of "$target")
		printf '%s\n' "$beside.old" >>"$work/pending"
		if ! keep_old "$target" "$beside" || ! mv -f "$beside" "$root$target"; then
			roll_back
			fail "cannot write $root$target; everything is as it was"
		fi
		printf '%s\n' "$target" >>"$work/done"
	done <"$work/moves"
	if [ -n "$loader" ] && [ -z "$root" ] && ! "${prefix%/}/bin/flanneld" -version >/dev/null 2>"$work/refused"; then
		roll_back
		fail "this machine does not run flanneld; everything is as it was: $(grep . "$work/refused" | tail -n 1)"
	fi
	link_plugin
	shut_settings
	if [ -z "$root" ] && [ -d /run/systemd/system ] && have systemctl; then
		systemctl daemon-reload
		if [ -n "$old_systemd" ]; then
			systemd-tmpfiles --create flanneld.conf || say "systemd-tmpfiles failed; the next boot makes /run/flannel"
			modprobe -q ip_tables || :
		fi
		reload_managers
	fi
	say "installed flanneld $found in $root$prefix"
	if [ -z "$root" ]; then
		say "next: edit /etc/sysconfig/flanneld, then systemctl enable --now flanneld"
		say "on a host where it runs already: systemctl restart flanneld (packets flow meanwhile, except udp in user space)"
	fi
}

# The CNI plugin: a link, unless there is a plugin of that name.
link_plugin() {
	plugin=$root/opt/cni/bin/flannel
	[ ! -e "$plugin" ] && [ ! -L "$plugin" ] || return 0
	if [ -n "$dry_run" ]; then
		say "would make $plugin, a link to ${prefix%/}/bin/flanneld"
		return
	fi
	if ! make_directory "${plugin%/*}" || ! ln -s "${prefix%/}/bin/flanneld" "$plugin"; then
		say "cannot make $plugin; flanneld cni install makes it later"
	fi
}

unlink_plugin() {
	plugin=$root/opt/cni/bin/flannel
	[ "$(readlink "$plugin")" = "${prefix%/}/bin/flanneld" ] || return 0
	if [ -n "$dry_run" ]; then
		say "would remove $plugin"
		return
	fi
	rm -f "$plugin"
	say "removed $plugin"
	rmdir "$root/opt/cni/bin" "$root/opt/cni" 2>/dev/null || :
}

# Lets NetworkManager and systemd-networkd read the files for them, before flanneld makes a device.
reload_managers() {
	! systemctl -q is-active NetworkManager.service || nmcli general reload conf ||
		say "NetworkManager did not reload; run: systemctl restart NetworkManager"
	! systemctl -q is-active systemd-networkd.service || networkctl reload ||
		say "systemd-networkd did not reload; run: systemctl restart systemd-networkd"
}

# Settings that an older version, or flannel, installed readable by everybody get mode 0600, because they
# hold the store's password. Any other mode is the operator's choice.
shut_settings() {
	settings=$root/etc/sysconfig/flanneld
	[ -n "$(find "$settings" -perm 644 2>/dev/null)" ] || return 0
	if [ -n "$dry_run" ]; then
		say "would make $settings readable by its owner alone"
		return
	fi
	chmod 600 "$settings" || fail "cannot change the mode of $settings; all else is installed"
	say "$settings is readable by its owner alone now, for it may hold a password"
}

keep_old() { [ ! -f "$root$1" ] || ln -f "$root$1" "$2.old"; }

roll_back() {
	while IFS= read -r written; do
		old=$(beside_of "$written").old
		if [ -f "$old" ]; then mv -f "$old" "$root$written"; else rm -f "$root$written"; fi
	done <"$work/done"
}

mode_of() {
	case $1 in
	usr/bin/* | *.sh | usr/lib/flanneld/*.so*) echo 755 ;;
	etc/sysconfig/*) echo 600 ;;
	*) echo 644 ;;
	esac
}

beside_of() { echo "$root$(dirname "$1")/.$(basename "$1").install-$$"; }

# put_beside SOURCE TARGET MODE
put_beside() {
	beside=$(beside_of "$2")
	make_directory "$root$(dirname "$2")" || fail "cannot make $root$(dirname "$2"); run as root"
	printf '%s\n' "$beside" >>"$work/pending"
	if ! cp "$1" "$beside" || ! chmod "$3" "$beside"; then
		fail "cannot write $root$2; everything is as it was"
	fi
	printf '%s\n' "$2" >>"$work/moves"
}

uninstall() {
	manifest=$root${prefix%/}/libexec/flannel/installed
	[ -f "$manifest" ] || fail "install.sh has installed nothing in $root$prefix"
	if [ -n "$dry_run" ]; then
		while read -r _ target; do
			[ ! -f "$root$target" ] || say "would remove $root$target"
		done <"$manifest"
		unlink_plugin
		return
	fi
	if [ -z "$root" ] && [ -d /run/systemd/system ] && have systemctl; then
		# systemd 219 has no disable --now.
		systemctl stop flanneld.service || fail "cannot stop flanneld.service"
		systemctl disable flanneld.service || fail "cannot disable flanneld.service"
	fi
	trap '' HUP INT TERM
	cp "$manifest" "$work/manifest"
	while read -r sum target; do
		[ -f "$root$target" ] || continue
		case $target in
		/etc/sysconfig/* | /etc/ufw/*)
			if [ "$(sha256_of "$root$target")" != "$sum" ]; then
				say "kept $root$target, which was edited"
				continue
			fi
			;;
		esac
		rm -f "$root$target"
		say "removed $root$target"
	done <"$work/manifest"
	rm -f "$manifest"
	unlink_plugin
	# flanneld's own directories, and empty directories of others.
	while read -r _ target; do
		dir=$(dirname "$target")
		while [ "$dir" != / ] && rmdir "$root$dir" 2>/dev/null; do dir=$(dirname "$dir"); done
	done <"$work/manifest"
	if [ -z "$root" ] && [ -d /run/systemd/system ] && have systemctl; then systemctl daemon-reload; fi
	say "what the agent left in the kernel stays, as at every stop; flanneld cleanup would have removed it"
}

# A package manager's files are its own.
refuse_package() {
	[ -z "$root" ] && [ -e "$prefix/bin/flanneld" ] && [ ! -e "$prefix/libexec/flannel/installed" ] || return 0
	if have rpm && owner=$(rpm -qf "$prefix/bin/flanneld" 2>/dev/null); then
		fail "$prefix/bin/flanneld belongs to the package $owner; upgrade or remove that"
	fi
	if have dpkg && owner=$(dpkg -S "$prefix/bin/flanneld" 2>/dev/null); then
		fail "$prefix/bin/flanneld belongs to the package ${owner%%:*}; upgrade or remove that"
	fi
}

main() {
	url='' tarball='' sha256='' version='' prefix=/usr root='' dry_run='' action=install fitted=''
	bundled='' old_systemd='' loader=''
	while [ $# -gt 0 ]; do
		option=$1
		shift
		case $option in
		--url | --tarball | --sha256 | --version | --prefix | --root)
			[ $# -gt 0 ] || wrong "$option needs a value"
			option=$option=$1
			shift
			;;
		esac
		value=${option#*=}
		case $option in
		--url=*) url=$value ;;
		--tarball=*) tarball=$value ;;
		--sha256=*) sha256=$(printf '%s' "$value" | tr 'A-F' 'a-f') ;;
		--version=*) version=${value#v} ;;
		--prefix=*) prefix=$value ;;
		--root=*) root=${value%/} ;;
		--dry-run) dry_run=1 ;;
		--bundled-libc) bundled=1 ;;
		--uninstall) action=uninstall ;;
		-h | --help)
			usage
			return
			;;
		*) wrong "unknown option: $option" ;;
		esac
	done
	case $prefix in
	/*) prefix=$(printf '%s' "$prefix" | sed 's#//*#/#g; s#\(.\)/$#\1#') ;;
	*) wrong "--prefix must begin with /, not $prefix" ;;
	esac
	case $prefix in
	*[!A-Za-z0-9/._-]*) wrong "--prefix must be of letters, digits and /._-, which systemd takes as they are: $prefix" ;;
	esac
	case $url in
	'' | https://* | http://* | file://*) ;;
	*) wrong "--url must begin with https://, http:// or file://, not $url" ;;
	esac
	[ -z "$url" ] || [ -z "$tarball" ] || wrong "--url and --tarball exclude each other"
	[ -z "$bundled" ] || [ -n "$url" ] ||
		wrong "--bundled-libc chooses a tarball of --url; without that, name the bundled tarball with --tarball"
	[ -z "$sha256" ] || [ ${#sha256} = 64 ] || wrong "--sha256 must be 64 hex digits, not $sha256"
	[ -z "$root" ] || [ -d "$root" ] || wrong "--root: there is no directory $root"

	work=$(mktemp -d "${TMPDIR:-/tmp}/flanneld-install.XXXXXX")
	trap clean EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	if [ "$action" = uninstall ]; then
		uninstall
		return
	fi
	refuse_package
	fetch
	[ ! -d "$tree/systemd-219" ] || ! has_old_systemd || old_systemd=1
	fit
	check
	[ -z "$version" ] || [ "$found" = "$version" ] || fail "the tarball holds flanneld $found, not $version"
	install_files
}

main "$@"
