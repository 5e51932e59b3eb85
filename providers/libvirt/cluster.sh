# What a machine knows of a cluster, in a POSIX shell: greet tells it, and introduce
# puts in its place what standard input says. Both go by lines of a word, which says
# what the rest of the line is of.
set -eu
act=$1 cluster=$2 user=$3 mint=$4 root=${5:-} # root is for tests
PATH=${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin
export PATH
umask 022
home=$(awk -F: -v user="$user" '$1 == user { print $6; exit }' "$root/etc/passwd")
[ -n "$home" ] || { echo "there is no user $user" >&2; exit 1; }
home=$root$home
begin="# flowctl cluster $cluster: begin" end="# flowctl cluster $cluster: end"
members=$root/etc/flowctl/clusters/$cluster
files="hosts:$root/etc/hosts authorized:$home/.ssh/authorized_keys known:$root/etc/ssh/ssh_known_hosts" server=$root/etc/ssh/ssh_host_ed25519_key

# public prints the type and the key of a file with a public key.
public() { awk -v word="$1" '{ print word, $1, $2; exit }' "$2"; }

keys() {
	key=$home/.ssh/id_ed25519
	if [ "$mint" = yes ]; then
		command -v ssh-keygen >/dev/null || { echo "there is no ssh-keygen: the image needs ssh's client and server" >&2; exit 1; }
		if [ ! -s "$key" ] || [ ! -s "$key.pub" ]; then
			rm -f "$key" "$key.pub"
			ssh-keygen -q -t ed25519 -N '' -C "$user@$(hostname)" -f "$key"
			chown "$user:" "$key" "$key.pub"
		fi
		n=0
		until [ -s "$server.pub" ]; do # a machine that has just started makes it itself
			n=$((n + 1))
			[ $n -lt 30 ] || ssh-keygen -q -t ed25519 -N '' -f "$server"
			sleep 1
		done
	fi
	if [ -s "$key.pub" ]; then public key "$key.pub"; fi
	if [ -s "$server.pub" ]; then public host "$server.pub"; fi
}

# section prints what is between the marks of a file.
section() {
	[ ! -e "$2" ] || awk -v word="$1" -v begin="$begin" -v end="$end" '
		$0 == end { inside = 0 }
		inside { print word, $0 }
		$0 == begin { inside = 1 }' "$2"
}

# put replaces what is between the marks. The rest of the file stays, and so do its
# owner and mode. Nobody sees half of it.
put() {
	new=$2.flowctl
	rm -f "$new"
	if [ -e "$2" ]; then cp -p "$2" "$new"; else touch "$new"; fi
	{
		[ ! -e "$2" ] || awk -v begin="$begin" -v end="$end" '
			$0 == begin { inside = 1 }
			!inside { print }
			$0 == end { inside = 0 }' "$2"
		if grep -q "^$1 " "$input"; then
			echo "$begin"
			sed -n "s/^$1 //p" "$input"
			echo "$end"
		fi
	} >"$new"
	if [ -s "$new" ] || [ -e "$2" ]; then mv "$new" "$2"; else rm "$new"; fi
}

if [ "$act" = introduce ] || [ "$mint" = yes ]; then
	if [ ! -d "$home/.ssh" ]; then
		mkdir -p "$home/.ssh"
		chmod 700 "$home/.ssh"
		chown "$user:" "$home/.ssh"
	fi
fi
if [ "$act" = introduce ]; then
	mkdir -p "$root/etc/ssh" "${members%/*}"
	# Two clusters may have one machine, and be told of it at once.
	lock=$root/run/flowctl.cluster n=0
	until mkdir "$lock" 2>/dev/null; do
		n=$((n + 1))
		[ $n -lt 30 ] || break # whoever made it is dead
		sleep 1
	done
	input=$lock/input
	trap 'rm -rf "$lock"' EXIT
	mkdir -p "$lock"
	cat >"$input"
	for f in $files; do put "${f%%:*}" "${f#*:}"; done
	if [ -e "$home/.ssh/authorized_keys" ]; then
		chmod 600 "$home/.ssh/authorized_keys"
		chown "$user:" "$home/.ssh/authorized_keys"
	fi
	if grep -q '^member ' "$input"; then
		sed -n 's/^member //p' "$input" >"$members"
	else
		rm -f "$members"
	fi
else
	echo "hostname $(hostname)"
	keys
	for f in $files; do section "${f%%:*}" "${f#*:}"; done
	if [ -e "$members" ]; then sed 's/^/member /' "$members"; fi
fi
