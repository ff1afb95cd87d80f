#!/bin/sh
# Writes the options of the Docker daemon for the subnet that flanneld leased, as an environment
# file. Options and output are those of flannel's script of the same name; it runs the same under
# dash, bash and busybox. `flanneld docker-opts` does the same without a shell.

LC_ALL=C
export LC_ALL

mk_usage() {
	cat >&2 <<-EOF
		$0 [-f FILE] [-d FILE] [-i] [-c] [-m] [-k KEY]

		Writes Docker daemon options for the subnet in flannel's env file, which is
		run as a shell script: FLANNEL_SUBNET becomes --bip, FLANNEL_MTU --mtu, and
		FLANNEL_IPMASQ the opposite --ip-masq, as one of both masquerades. Without
		the file the variables are taken from the environment; DOCKER_OPT_*
		variables that are set go along as further options.

		  -f FILE  env file that flanneld writes (default /run/flannel/subnet.env)
		  -d FILE  file to write (default /run/docker_opts.env)
		  -i       write each option as a variable of its own (DOCKER_OPT_MTU="--mtu=1450")
		  -c       write all options as one variable; both without -i and -c
		  -k KEY   name of that variable (default DOCKER_OPTS)
		  -m       leave --ip-masq out, for a Docker that does not know it
		  -h       print this
	EOF
	exit 1
}

mk_fail() {
	printf '%s\n' "$1" >&2
	exit 1
}

# Puts ./ before a relative path: `.` would search PATH for a bare name, and a name that begins with
# a dash would be an option.
mk_path() {
	case $1 in
	/*) printf '%s\n' "$1" ;;
	*) printf '%s\n' "./$1" ;;
	esac
}

# Prints a value between double quotes, as shells and systemd read it back.
mk_quote() {
	case $1 in
	*[\"\\\$\`]*) printf '"%s"' "$(printf '%s\n' "$1" | sed 's/["\\$`]/\\&/g')" ;;
	*) printf '"%s"' "$1" ;;
	esac
}

# Prints the names of all variables that begin with DOCKER_OPT_, sorted. The list of `set` can hold
# lines that only look like one (a value of several lines; in bash, function bodies): a name counts
# when its variable is set.
mk_names() {
	set | sed -n 's/^\(DOCKER_OPT_[A-Za-z0-9_]*\)=.*/\1/p' | sort -u | while read -r mk_name; do
		eval "[ -n \"\${$mk_name+set}\" ]" && printf '%s\n' "$mk_name"
	done
}

mk_print() {
	eval "mk_value=\${$mk_key-}"
	mk_all=${mk_value:+$mk_value }
	for mk_name in $(mk_names); do
		eval "mk_value=\$$mk_name"
		mk_all="$mk_all $mk_value"
		[ "$mk_individual" = false ] || printf '%s=%s\n' "$mk_name" "$(mk_quote "$mk_value")"
	done
	[ "$mk_combined" = false ] || printf '%s=%s\n' "$mk_key" "$(mk_quote "$mk_all")"
}

# Replaces the output in one step, so that nobody reads half of it; what is no regular file is
# written in place.
mk_write() {
	mkdir -p "${mk_output%/*}/" || return 1
	if [ -L "$mk_output" ] || { [ -e "$mk_output" ] && [ ! -f "$mk_output" ]; }; then
		mk_print >"$mk_output"
		return
	fi
	mk_temporary=${mk_output%/*}/.${mk_output##*/}.$$
	(
		umask 022
		set -C
		mk_print >"$mk_temporary"
	) && mv -f "$mk_temporary" "$mk_output" && return
	rm -f "$mk_temporary"
	return 1
}

# A route to our own subnet by way of another host is left from a time when that host had it, and
# would take our containers' packets there.
mk_check_routes() {
	[ -n "${FLANNEL_SUBNET-}" ] && command -v ip >/dev/null || return 0
	mk_address=${FLANNEL_SUBNET%/*}
	mk_last=${mk_address##*.}
	case $mk_last in
	'' | *[!0-9]*) return 0 ;;
	esac
	mk_network=${mk_address%.*}.$((mk_last - 1))/${FLANNEL_SUBNET##*/}
	ip route show | while read -r mk_route; do
		case $mk_route in
		"$mk_network via "* | "$mk_network "*" via "*)
			mk_fail "Your routing table already contains the subnet: $mk_route"
			;;
		esac
	done
}

mk_file=/run/flannel/subnet.env
mk_output=/run/docker_opts.env
mk_individual=false
mk_combined=false
mk_key=DOCKER_OPTS
mk_ipmasq=true

OPTIND=1
while getopts f:d:icmk:h mk_option; do
	case $mk_option in
	f) mk_file=$OPTARG ;;
	d) mk_output=$OPTARG ;;
	i) mk_individual=true ;;
	c) mk_combined=true ;;
	m) mk_ipmasq=false ;;
	k) mk_key=$OPTARG ;;
	*) mk_usage ;;
	esac
done
[ "$OPTIND" -gt $# ] || mk_usage
case $mk_key in
'' | [0-9]* | *[!A-Za-z0-9_]*) mk_fail "Invalid variable name after -k: $mk_key" ;;
esac
if [ $mk_individual = false ] && [ $mk_combined = false ]; then
	mk_individual=true
	mk_combined=true
fi
mk_file=$(mk_path "$mk_file")
mk_output=$(mk_path "$mk_output")

if [ -f "$mk_file" ]; then
	. "$mk_file"
fi

[ -z "${FLANNEL_SUBNET-}" ] || DOCKER_OPT_BIP="--bip=$FLANNEL_SUBNET"
[ -z "${FLANNEL_MTU-}" ] || DOCKER_OPT_MTU="--mtu=$FLANNEL_MTU"
if [ -n "${FLANNEL_IPMASQ-}" ] && [ $mk_ipmasq = true ]; then
	# Docker masquerades when flanneld does not, and the other way round.
	case $FLANNEL_IPMASQ in
	true) DOCKER_OPT_IPMASQ=--ip-masq=false ;;
	false) DOCKER_OPT_IPMASQ=--ip-masq=true ;;
	*) mk_fail "Invalid value of FLANNEL_IPMASQ: $FLANNEL_IPMASQ (expected true or false)" ;;
	esac
fi

mk_write || exit 1
mk_check_routes
