# build image operator
docker build --file operator/Dockerfile --tag localhost/yolofleet/operator:dev .

# build image builder
docker build --file model_repo_builder/Dockerfile --tag localhost/yolofleet/builder:dev .

# create the cluster
kind create cluster --config /cache/kind/lab/kind.yaml --kubeconfig /cache/kind/lab/kubeconfig --wait 180s

# see the GPUs in the node
docker exec yolofleet-lab-worker nvidia-smi -L

# show the driver's folder
docker exec yolofleet-lab-worker sh -c 'grep -qx '"'"'ModifyDeviceFiles: 0'"'"' /proc/driver/nvidia/params || umount -R /proc/driver/nvidia'

# install the container toolkit in the node
docker exec yolofleet-lab-worker sh -c 'set -eu
export DEBIAN_FRONTEND=noninteractive
keys=/usr/share/keyrings/nvidia-container-toolkit.asc
from=https://nvidia.github.io/libnvidia-container
curl --fail --silent --show-error --location "$from/gpgkey" --output "$keys"
echo "deb [signed-by=$keys] $from/stable/deb/$(dpkg --print-architecture) /" >/etc/apt/sources.list.d/nvidia.list
apt-get update -q
apt-get install -y -q --no-install-recommends nvidia-container-toolkit=1.19.0-1 nvidia-container-toolkit-base=1.19.0-1 libnvidia-container-tools=1.19.0-1 libnvidia-container1=1.19.0-1
nvidia-ctk runtime configure --runtime=containerd --config-source=command
systemctl restart containerd
'

# load images into the nodes
kind load docker-image localhost/yolofleet/operator:dev localhost/yolofleet/builder:dev --name yolofleet-lab

# make the volumes' folders
docker exec yolofleet-lab-worker sh -c 'set -eu
mkdir -p /var/lib/yolofleet/volumes
cd /var/lib/yolofleet/volumes
for volume in pv-00 pv-01 pv-02 pv-03 pv-04 pv-05 pv-06 pv-07 pv-08 pv-09 pv-10 pv-11 pv-12 pv-13 pv-14 pv-15 pv-16 pv-17 pv-18 pv-19 pv-20 pv-21 pv-22 pv-23 pv-24 pv-25 pv-26 pv-27 pv-28 pv-29 pv-30 pv-31 pv-32 pv-33 pv-34 pv-35 pv-36 pv-37 pv-38 pv-39; do
  rm -rf "$volume"
  mkdir --mode=0777 "$volume"
  chown 1000:1000 "$volume"
done
'

# leave one default class
kubectl --kubeconfig /cache/kind/lab/kubeconfig --context kind-yolofleet-lab annotate storageclass standard storageclass.kubernetes.io/is-default-class=false --overwrite

# offer the volumes
kubectl --kubeconfig /cache/kind/lab/kubeconfig --context kind-yolofleet-lab apply --server-side -f - <<'EOF'
(objects)
EOF

# name NVIDIA's runtime
kubectl --kubeconfig /cache/kind/lab/kubeconfig --context kind-yolofleet-lab apply --server-side -f - <<'EOF'
(objects)
EOF

# install NVIDIA's device plugin
helm upgrade --install nvidia-device-plugin nvidia-device-plugin --repo https://nvidia.github.io/k8s-device-plugin --version 0.20.0 --namespace nvidia-device-plugin --create-namespace --set migStrategy=mixed --set gfd.enabled=true --set runtimeClassName=nvidia --wait --timeout 5m --kubeconfig /cache/kind/lab/kubeconfig --kube-context kind-yolofleet-lab
