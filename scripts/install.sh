#!/bin/sh
# Installs flanneld: the executable, its unit, Docker's drop-in, mk-docker-opts.sh, the services for firewalld
# and ufw, the files that keep NetworkManager and systemd-networkd away from its devices, the man page and
# completions. Runs under any POSIX shell:
#
#   curl -fsSL URL/install.sh | sh -s -- --url=URL
#
# Installs everything or nothing. All code is in functions that the last line calls, so a truncated
# download runs nothing.

set -eu
LC_ALL=C
export LC_ALL

usage() {
	cat <<-'EOT'
		Usage: install.sh [options]

		Installs flanneld from a release: a directory or web address that holds SHA256SUMS and
		flanneld-VERSION-linux-ARCH.tar.gz; where the host's C library is not glibc or older than
		2.27, flanneld-VERSION-linux-ARCH-bundled.tar.gz, which brings its own. Without --url and
		--tarball it installs the unpacked tarball that it is part of.

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

report() { printf '%s\n' "install.sh: $*"; }

fail() {
	printf '%s\n' "install.sh: $*" >&2
	exit 1
}

usage_error() {
	printf '%s\n' "install.sh: $*" "Try install.sh --help" >&2
	exit 2
}

have() { command -v "$1" >/dev/null 2>&1; }

# Prints the machine as in the names of the tarballs.
architecture() {
	machine=$(uname -m)
	case $machine in
	x86_64 | amd64) echo x86_64 ;;
	aarch64 | arm64) echo aarch64 ;;
	*) fail "no build for this machine: $machine; there are builds for x86_64 and aarch64" ;;
	esac
}

# True where the C library is glibc 2.27 or newer, which the executable needs unless it brings its own.
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

# True where systemd is older than 235, which the directives of the usual unit need.
has_old_systemd() {
	have systemctl || return 1
	systemd=$(systemctl --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
	[ -n "$systemd" ] && [ "$systemd" -lt 235 ]
}

# sha256_of FILE...: prints the SHA-256 of each file, one a line.
sha256_of() {
	if have sha256sum; then sha256sum "$@" >"$work/sums"
	elif have openssl; then openssl dgst -sha256 -r "$@" >"$work/sums"
	else fail "neither sha256sum nor openssl is there to compute checksums"
	fi || fail "cannot compute the SHA-256 of $1${2:+ and other files}"
	# sha256sum puts a backslash before the checksum where it escapes the file's name.
	while read -r sum _; do printf '%s\n' "${sum#\\}"; done <"$work/sums"
}

# with_lines COMMAND...: runs the command once with the lines of standard input as further arguments, or not at
# all where there are none.
with_lines() {
	count=$#
	while IFS= read -r line; do set -- "$@" "$line"; done
	[ $# = "$count" ] || "$@"
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

# Removes temporary files and, after a failure, the directories made for the installation.
clean_up() {
	status=$?
	trap '' HUP INT TERM
	if [ -n "${work-}" ]; then
		remove_pending
		if [ "$status" != 0 ] && [ -f "$work/made" ]; then remove_empty <"$work/made"; fi
		rm -rf "$work"
	fi
	exit "$status"
}

# Removes the temporary files in the directories of the installation: new and former files beside their places.
remove_pending() {
	[ ! -f "$work/pending" ] || with_lines rm -f <"$work/pending" || :
}

# Removes the directories that standard input lists, as far as they are empty.
remove_empty() {
	# Children before their parents.
	sort -ru | with_lines rmdir 2>/dev/null || :
}

# Reads targets and prints their directories below the root, with all parents.
directories_of() {
	while IFS= read -r target; do
		dir=${target%/*}
		while [ -n "$dir" ]; do
			printf '%s\n' "$root$dir"
			dir=${dir%/*}
		done
	done
}

# Finds the tarball's line in a SHA256SUMS file: sets `name` and `expected`.
choose_tarball() {
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
		report "the C library of this host is ${glibc:+glibc }${glibc:-not glibc}: taking the build that brings its own"
}

# Fetches, checks and unpacks; sets `tree`, the directory that holds usr/ and etc/.
unpack() {
	if [ -z "$url$tarball" ]; then
		case $0 in
		*/*) tree=$(cd "${0%/*}/" && pwd) ;;
		*) tree=$PWD ;;
		esac
		[ -f "$tree/usr/bin/flanneld" ] ||
			usage_error "nothing to install: give --url or --tarball, or run the install.sh of an unpacked tarball"
		return
	fi
	expected=$sha256
	if [ -n "$tarball" ]; then
		[ -f "$tarball" ] || fail "$tarball is not there"
		# Checks and unpacks a copy, because another user may be able to write to the tarball.
		name=${tarball##*/}
		archive=$work/$name
		cp "$tarball" "$archive" || fail "cannot read $tarball"
		if [ -z "$expected" ]; then
			sums=$(dirname "$tarball")/SHA256SUMS
			[ -f "$sums" ] || fail "no checksum for $tarball: give --sha256, or put SHA256SUMS beside it"
			expected=$(sed -n "s/^\([0-9a-f]\{64\}\) [ *]$(printf '%s\n' "$name" | sed 's/\./\\./g')\$/\1/p" "$sums")
			[ -n "$expected" ] || fail "$sums does not name $name"
		fi
	else
		url=${url%/}
		download "$url/SHA256SUMS" "$work/SHA256SUMS"
		choose_tarball "$work/SHA256SUMS" "$url/SHA256SUMS"
		[ -z "$sha256" ] || expected=$sha256
		archive=$work/$name
		report "downloading $url/$name"
		download "$url/$name" "$archive"
	fi
	actual=$(sha256_of "$archive")
	[ "$actual" = "$expected" ] ||
		fail "$name is not what it should be: its SHA-256 is $actual, not $expected"
	mkdir "$work/unpacked"
	tar -xzf "$archive" -C "$work/unpacked" || fail "cannot unpack $name"
	tree=$(echo "$work"/unpacked/*)
	[ -f "$tree/usr/bin/flanneld" ] || fail "$name holds no usr/bin/flanneld"
}

# locate FILE: sets `source`, `target` below the root and `mode` of a tarball's file.
locate() {
	source=$tree/$1
	if [ -n "$fitted" ] && [ "$1" = usr/lib/systemd/system/flanneld.service ]; then source=$fitted
	elif [ -n "$old_systemd" ] && [ -f "$tree/systemd-219/$1" ]; then source=$tree/systemd-219/$1
	fi
	target=/$1
	if [ "$prefix" != /usr ]; then
		case $1 in
		usr/lib/flanneld/*) ;; # the executable names it
		usr/lib/systemd/* | usr/lib/tmpfiles.d/* | usr/lib/modules-load.d/* | usr/lib/NetworkManager/* | usr/lib/firewalld/*)
			target=/etc/${1#usr/lib/}
			;;
		usr/*) target=${prefix%/}/${1#usr/} ;;
		esac
	fi
	case $1 in
	usr/bin/* | *.sh | usr/lib/flanneld/*.so*) mode=755 ;;
	etc/sysconfig/*) mode=600 ;;
	*) mode=644 ;;
	esac
}

# Replaces /usr/bin and /usr/libexec in the unit by the prefix; sets `fitted`, the unit's path.
fit_unit() {
	[ "$prefix" != /usr ] || return 0
	locate usr/lib/systemd/system/flanneld.service
	fitted=$work/unit
	sed "s#/usr/bin/flanneld#${prefix%/}/bin/flanneld#; s#/usr/libexec/flannel/#${prefix%/}/libexec/flannel/#" \
		"$source" >"$fitted"
}

# Makes sure that the executable runs here; sets `found`, its version, and `loader` where it brings its C library.
check_executable() {
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

# Copies all files beside their places, and then renames them, so that an upgrade that fails has replaced nothing.
install_files() {
	: >"$work/pending"
	: >"$work/made"
	: >"$work/manifest"
	: >"$work/moves"
	: >"$work/sources"
	: >"$work/present"
	changed=0
	{
		(cd "$tree" && find usr etc -type f)
		[ -z "$old_systemd" ] || (cd "$tree/systemd-219" && find usr -type f)
	} | sort -u >"$work/all"
	# networkd before 233 does not know the key in that file, and would manage the devices that it names.
	if [ -n "$old_systemd" ]; then grep -v '^usr/lib/systemd/network/' "$work/all" >"$work/files"
	else cp "$work/all" "$work/files"
	fi
	targets=$newline
	while IFS= read -r file; do
		locate "$file"
		printf '%s\n' "$source" >>"$work/sources"
		[ ! -f "$root$target" ] || printf '%s\n' "$root$target" >>"$work/present"
		targets=$targets$target$newline
	done <"$work/files"
	with_lines sha256_of <"$work/sources" >"$work/checksums"
	with_lines sha256_of <"$work/present" >"$work/present-checksums"
	while IFS= read -r file; do
		read -r sum <&3 || fail "cannot compute the SHA-256 of $file"
		locate "$file"
		printf '%s  %s\n' "$sum" "$target" >>"$work/manifest"
		if [ -f "$root$target" ]; then
			read -r present <&4 || fail "cannot compute the SHA-256 of $root$target"
			[ "$present" != "$sum" ] || continue
			case $file in
			etc/*)
				report "kept $root$target, which is yours"
				continue
				;;
			esac
		fi
		[ ! -e "$root$target" ] || [ -f "$root$target" ] || fail "$root$target is in the way: it is no file"
		changed=$((changed + 1))
		if [ -n "$dry_run" ]; then report "would write $root$target"
		else printf '%s\n' "$mode $target $source" >>"$work/moves"
		fi
	done <"$work/files" 3<"$work/checksums" 4<"$work/present-checksums"
	manifest=${prefix%/}/libexec/flannel/installed
	: >"$work/removed"
	[ ! -f "$root$manifest" ] || list_removed
	if [ -n "$dry_run" ]; then
		link_plugin
		restrict_settings
		[ "$changed" != 0 ] || report "would change nothing: flanneld $found is installed in $prefix"
		return
	fi
	if [ ! -f "$root$manifest" ] || ! cmp -s "$work/manifest" "$root$manifest"; then
		printf '%s\n' "644 $manifest $work/manifest" >>"$work/moves"
	fi
	if [ ! -s "$work/moves" ]; then
		link_plugin
		restrict_settings
		report "flanneld $found is installed in $prefix already"
		return
	fi
	copy_files
	# From here on only renames follow, which must not be interrupted.
	trap '' HUP INT TERM
	move_files
	if [ -n "$loader" ] && [ -z "$root" ] && ! "${prefix%/}/bin/flanneld" -version >/dev/null 2>"$work/refused"; then
		roll_back
		fail "this machine does not run flanneld; everything is as it was: $(grep . "$work/refused" | tail -n 1)"
	fi
	remove_pending
	directories_of <"$work/removed" | remove_empty
	while IFS= read -r target; do report "removed $root$target, which this version lacks"; done <"$work/removed"
	link_plugin
	restrict_settings
	if [ -z "$root" ] && [ -d /run/systemd/system ] && have systemctl; then
		systemctl daemon-reload
		if [ -n "$old_systemd" ]; then
			systemd-tmpfiles --create flanneld.conf || report "systemd-tmpfiles failed; the next boot makes /run/flannel"
			modprobe -q ip_tables || :
		fi
		reload_managers
	fi
	report "installed flanneld $found in $root$prefix"
	if [ -z "$root" ]; then
		report "next: edit /etc/sysconfig/flanneld, then systemctl enable --now flanneld"
		report "on a host where it runs already: systemctl restart flanneld (packets flow meanwhile, except udp in user space)"
	fi
}

# Lists the unchanged files of the installed version that are not in `targets`: those that the upgrade removes.
list_removed() {
	while read -r sum target; do
		case $targets in
		*"$newline$target$newline"*) continue ;;
		esac
		[ -f "$root$target" ] || continue
		if [ "$(sha256_of "$root$target")" != "$sum" ]; then
			report "kept $root$target, which was edited and which this version lacks"
			continue
		fi
		changed=$((changed + 1))
		if [ -n "$dry_run" ]; then report "would remove $root$target, which this version lacks"
		else printf '%s\n' "$target" >>"$work/removed"
		fi
	done <"$root$manifest"
}

# Makes the missing directories and copies the files of `moves` beside their places.
copy_files() {
	while read -r _ target _; do printf '%s\n' "$target"; done <"$work/moves" | directories_of | sort -u >"$work/directories"
	while IFS= read -r dir; do
		[ -d "$dir" ] || printf '%s\n' "$dir" >>"$work/made"
	done <"$work/directories"
	with_lines mkdir <"$work/made" 2>"$work/refused" || fail "$(sed -n 1p "$work/refused"); run as root"
	while read -r mode target source; do
		locate_temporary "$target"
		printf '%s\n' "$new" "$old" >>"$work/pending"
		printf '%s\n' "$new" >>"$work/mode-$mode"
		cp "$source" "$new" || fail "cannot write $root$target; everything is as it was"
	done <"$work/moves"
	for mode in 600 644 755; do
		[ ! -f "$work/mode-$mode" ] || with_lines chmod "$mode" <"$work/mode-$mode" ||
			fail "cannot change the mode of the new files; everything is as it was"
	done
}

# Renames the new files into their places and the removed ones out of them.
move_files() {
	: >"$work/done"
	while read -r _ target _; do
		locate_temporary "$target"
		if ! keep_old || ! mv -f "$new" "$root$target"; then
			roll_back
			fail "cannot write $root$target; everything is as it was"
		fi
		printf '%s\n' "$target" >>"$work/done"
	done <"$work/moves"
	while IFS= read -r target; do
		locate_temporary "$target"
		printf '%s\n' "$old" >>"$work/pending"
		if ! mv -f "$root$target" "$old"; then
			roll_back
			fail "cannot remove $root$target; everything is as it was"
		fi
		printf '%s\n' "$target" >>"$work/done"
	done <"$work/removed"
}

# The CNI plugin: a link, unless there is a plugin of that name.
link_plugin() {
	plugin=$root/opt/cni/bin/flannel
	[ ! -e "$plugin" ] && [ ! -L "$plugin" ] || return 0
	if [ -n "$dry_run" ]; then
		report "would make $plugin, a link to ${prefix%/}/bin/flanneld"
		return
	fi
	if ! mkdir -p "${plugin%/*}" || ! ln -s "${prefix%/}/bin/flanneld" "$plugin"; then
		report "cannot make $plugin; flanneld cni install makes it later"
	fi
}

unlink_plugin() {
	plugin=$root/opt/cni/bin/flannel
	[ "$(readlink "$plugin")" = "${prefix%/}/bin/flanneld" ] || return 0
	if [ -n "$dry_run" ]; then
		report "would remove $plugin"
		return
	fi
	rm -f "$plugin"
	report "removed $plugin"
	rmdir "$root/opt/cni/bin" "$root/opt/cni" 2>/dev/null || :
}

# Lets NetworkManager and systemd-networkd read the files for them, before flanneld makes a device.
reload_managers() {
	! systemctl -q is-active NetworkManager.service || nmcli general reload conf ||
		report "NetworkManager did not reload; run: systemctl restart NetworkManager"
	! systemctl -q is-active systemd-networkd.service || networkctl reload ||
		report "systemd-networkd did not reload; run: systemctl restart systemd-networkd"
}

# Settings that an older version, or flannel, installed readable by everybody get mode 0600, because they
# hold the store's password. Any other mode is the operator's choice.
restrict_settings() {
	settings=$root/etc/sysconfig/flanneld
	[ -n "$(find "$settings" -perm 644 2>/dev/null)" ] || return 0
	if [ -n "$dry_run" ]; then
		report "would make $settings readable by its owner alone"
		return
	fi
	chmod 600 "$settings" || fail "cannot change the mode of $settings; all else is installed"
	report "$settings is readable by its owner alone now, for it may hold a password"
}

# locate_temporary TARGET: sets `new` and `old`, the temporary paths of the new and the former file.
locate_temporary() {
	new=$root${1%/*}/.${1##*/}.install-$$
	old=$new.old
}

# A second link, so that the place is never empty.
keep_old() { [ ! -f "$root$target" ] || ln -f "$root$target" "$old"; }

# Restores the files that move_files has replaced or removed.
roll_back() {
	while IFS= read -r replaced; do
		locate_temporary "$replaced"
		if [ -f "$old" ]; then mv -f "$old" "$root$replaced"; else rm -f "$root$replaced"; fi
	done <"$work/done"
}

uninstall() {
	manifest=$root${prefix%/}/libexec/flannel/installed
	[ -f "$manifest" ] || fail "install.sh has installed nothing in $root$prefix"
	if [ -n "$dry_run" ]; then
		while read -r _ target; do
			[ ! -f "$root$target" ] || report "would remove $root$target"
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
	: >"$work/targets"
	: >"$work/removed"
	while read -r sum target; do
		printf '%s\n' "$target" >>"$work/targets"
		[ -f "$root$target" ] || continue
		case $target in
		/etc/sysconfig/* | /etc/ufw/*)
			if [ "$(sha256_of "$root$target")" != "$sum" ]; then
				report "kept $root$target, which was edited"
				continue
			fi
			;;
		esac
		printf '%s\n' "$root$target" >>"$work/removed"
	done <"$manifest"
	with_lines rm -f <"$work/removed"
	while IFS= read -r file; do report "removed $file"; done <"$work/removed"
	rm -f "$manifest"
	unlink_plugin
	# flanneld's own directories, and empty directories of others.
	directories_of <"$work/targets" | remove_empty
	if [ -z "$root" ] && [ -d /run/systemd/system ] && have systemctl; then systemctl daemon-reload; fi
	report "what the agent left in the kernel stays, as at every stop; flanneld cleanup would have removed it"
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
	newline='
'
	while [ $# -gt 0 ]; do
		option=$1
		shift
		case $option in
		--url | --tarball | --sha256 | --version | --prefix | --root)
			[ $# -gt 0 ] || usage_error "$option needs a value"
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
		*) usage_error "unknown option: $option" ;;
		esac
	done
	case $prefix in
	/*) prefix=$(printf '%s' "$prefix" | sed 's#//*#/#g; s#\(.\)/$#\1#') ;;
	*) usage_error "--prefix must begin with /, not $prefix" ;;
	esac
	case $prefix in
	*[!A-Za-z0-9/._-]*) usage_error "--prefix must be of letters, digits and /._-, which systemd takes as they are: $prefix" ;;
	esac
	case $url in
	'' | https://* | http://* | file://*) ;;
	*) usage_error "--url must begin with https://, http:// or file://, not $url" ;;
	esac
	[ -z "$url" ] || [ -z "$tarball" ] || usage_error "--url and --tarball exclude each other"
	[ -z "$bundled" ] || [ -n "$url" ] ||
		usage_error "--bundled-libc chooses a tarball of --url; without that, name the bundled tarball with --tarball"
	[ -z "$sha256" ] || [ ${#sha256} = 64 ] || usage_error "--sha256 must be 64 hex digits, not $sha256"
	[ -z "$root" ] || [ -d "$root" ] || usage_error "--root: there is no directory $root"

	umask 022
	work=$(mktemp -d "${TMPDIR:-/tmp}/flanneld-install.XXXXXX")
	trap clean_up EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	if [ "$action" = uninstall ]; then
		uninstall
		return
	fi
	refuse_package
	unpack
	[ ! -d "$tree/systemd-219" ] || ! has_old_systemd || old_systemd=1
	fit_unit
	check_executable
	[ -z "$version" ] || [ "$found" = "$version" ] || fail "the tarball holds flanneld $found, not $version"
	install_files
}

main "$@"
