#!/bin/sh
# Fetches the Kafka that the tests of bridge-kafka run (43 MB), once, into the user's cache:
# $XDG_CACHE_HOME/patchbay/kafka-VERSION, or the folder that is given. It needs mvn, which is
# in Debian's package maven; to run Kafka takes Java 17 or later (default-jre-headless).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
version=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$here/pom.xml")
case $(uname -s) in
Darwin) cache=$HOME/Library/Caches ;;
*) cache=${XDG_CACHE_HOME:-$HOME/.cache} ;;
esac
to=${1:-$cache/patchbay/kafka-$version}
if [ -d "$to" ]; then
	echo "$to is there"
	exit 0
fi
mkdir -p "$(dirname "$to")"
new=$(mktemp -d "$to.XXXXXX")
trap 'rm -rf "$new"' EXIT
# Maven may write beside its pom.xml, which does not belong there.
cp "$here/pom.xml" "$new"
mvn -q -B -f "$new/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$new/lib"
# A folder that is there is whole: another run may have been quicker.
[ -d "$to" ] || mv "$new/lib" "$to"
echo "$to is there now"
