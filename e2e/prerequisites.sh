#!/usr/bin/env bash
# Installs the Debian packages that the bare cluster needs and this machine lacks (root); says nothing when all are there.
set -euo pipefail

declare -A package_of=(
  [runc]=runc [nft]=nftables [mmdebstrap]=mmdebstrap [ip]=iproute2 [sysctl]=procps
  [nsenter]=util-linux [mount]=mount [openssl]=openssl
)
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
missing=()
for program in "${!package_of[@]}"; do
  command -v "$program" >/dev/null || missing+=("${package_of[$program]}")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "==> Debian packages: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q >/dev/null
  apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null
fi
