# make the bench's images
python -m e2e.images operator builder triton device-plugin --archive /cache/kind/lab/images.tar

# create the cluster
kind create cluster --config /cache/kind/lab/kind.yaml --kubeconfig /cache/kind/lab/kubeconfig --wait 180s

# load images into the nodes
kind load image-archive /cache/kind/lab/images.tar --name yolofleet-lab

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

# start the fake device plugin
kubectl --kubeconfig /cache/kind/lab/kubeconfig --context kind-yolofleet-lab apply --server-side -f - <<'EOF'
(objects)
EOF

# wait for it
kubectl --kubeconfig /cache/kind/lab/kubeconfig --context kind-yolofleet-lab -n yolofleet-fakes rollout status daemonset/mig-device-plugin --timeout=120s
