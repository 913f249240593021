{{/* The chart's name, at most 63 characters. */}}
{{- define "yolofleet.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* What the names of all objects begin with; short enough for every ending that the chart puts behind it. */}}
{{- define "yolofleet.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- default $full .Values.fullnameOverride | trunc 48 | trimSuffix "-" }}
{{- end }}

{{- define "yolofleet.selectorLabels" -}}
app.kubernetes.io/name: {{ include "yolofleet.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "yolofleet.labels" -}}
{{ include "yolofleet.selectorLabels" . }}
{{ include "yolofleet.chartLabels" . }}
{{- end }}

{{- define "yolofleet.storeLabels" -}}
{{ include "yolofleet.storeSelectorLabels" . }}
{{ include "yolofleet.chartLabels" . }}
{{- end }}

{{- define "yolofleet.chartLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "yolofleet.serviceAccountName" -}}
{{- $made := .Values.serviceAccount.create | ternary (include "yolofleet.fullname" .) "default" }}
{{- default $made .Values.serviceAccount.name }}
{{- end }}

{{/* The reference of the image named by `image`: registry/repository:tag@digest, a mirror's registry first. */}}
{{- define "yolofleet.image" -}}
{{- $image := index .root.Values.images .image }}
{{- $registry := default $image.registry .root.Values.images.registry | trimSuffix "/" }}
{{- with $registry }}{{ . }}/{{ end }}{{ $image.repository }}:{{ default .root.Chart.AppVersion $image.tag }}
{{- with $image.digest }}@{{ . }}{{ end }}
{{- end }}

{{/* A section of values without its empty strings, each of which means: the operator's own default. */}}
{{- define "yolofleet.section" -}}
{{- $told := dict }}
{{- range $key, $value := . }}
{{- if not (and (kindIs "string" $value) (empty $value)) }}
{{- $_ := set $told $key $value }}
{{- end }}
{{- end }}
{{- toYaml $told }}
{{- end }}

{{/* Whether the chart runs an S3 server of its own. */}}
{{- define "yolofleet.ownStore" -}}
{{- if and (eq .Values.store.kind "S3") (not .Values.store.s3.endpoint) }}true{{ end }}
{{- end }}

{{- define "yolofleet.storeSelectorLabels" -}}
app.kubernetes.io/name: {{ include "yolofleet.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: store
{{- end }}

{{- define "yolofleet.prePullSelectorLabels" -}}
app.kubernetes.io/name: {{ include "yolofleet.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: pre-pull
{{- end }}

{{- define "yolofleet.prePullLabels" -}}
{{ include "yolofleet.prePullSelectorLabels" . }}
{{ include "yolofleet.chartLabels" . }}
{{- end }}

{{/* What all containers that only bring an image to a node share. */}}
{{- define "yolofleet.prePullContainer" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
resources:
  requests: {cpu: 1m, memory: 8Mi}
{{- end }}

{{/* What all containers of the chart's own S3 server share. */}}
{{- define "yolofleet.storeContainer" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
resources:
  {{- toYaml .Values.storeServer.resources | nindent 2 }}
volumeMounts:
- name: data
  mountPath: /data
{{- end }}

{{/* The Secret with which the operator writes to an S3 store. */}}
{{- define "yolofleet.writeSecret" -}}
{{- default (printf "%s-store" (include "yolofleet.fullname" .)) .Values.store.s3.writeSecret }}
{{- end }}

{{/* The S3 store, as the operator's settings have it. */}}
{{- define "yolofleet.s3" -}}
{{- $s3 := fromYaml (include "yolofleet.section" .Values.store.s3) }}
{{- if eq .Values.store.kind "S3" }}
{{- $_ := set $s3 "writeSecret" (include "yolofleet.writeSecret" .) }}
{{- end }}
{{- if include "yolofleet.ownStore" . }}
{{- $host := printf "http://%s-store.%s.svc" (include "yolofleet.fullname" .) .Release.Namespace }}
{{- $_ := set $s3 "endpoint" (printf "%s:7070" $host) }}
{{- $_ := set $s3 "readEndpoint" (default (printf "%s:7071" $host) .Values.store.s3.readEndpoint) }}
{{- end }}
{{- toYaml $s3 }}
{{- end }}

{{/* What may be asked of the S3 store, as a rule of a NetworkPolicy; `port` is that of the chart's own server. */}}
{{- define "yolofleet.storeEgress" -}}
{{- if eq .root.Values.store.kind "S3" }}
{{- if include "yolofleet.ownStore" .root }}
- ports:
  - {port: {{ .port }}, protocol: TCP}
  to:
  - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: {{ .root.Release.Namespace }}}}
    podSelector:
      matchLabels:
        {{- include "yolofleet.storeSelectorLabels" .root | nindent 8 }}
{{- else }}
{{- $url := urlParse .url }}
{{- $port := regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) }}
- ports:
  - {port: {{ default (eq $url.scheme "https" | ternary 443 80) $port }}, protocol: TCP}
  {{- with .root.Values.networkPolicy.store }}
  to:
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The operator's settings file: yolofleet.settings.Settings reads it, and refuses what it does not know. */}}
{{- define "yolofleet.settings" -}}
{{- $builds := merge (dict "version" (default .Chart.AppVersion .Values.builds.version)) .Values.builds }}
{{- $store := fromYaml (include "yolofleet.section" .Values.store) }}
{{- if eq (default "" .Values.store.storageClassName) "-" }}
{{- $_ := set $store "storageClassName" "" }}
{{- end }}
{{- $_ := set $store "s3" (fromYaml (include "yolofleet.s3" .)) }}
{{- $operator := pick .Values.operator "httpPort" "topPort" "resyncSeconds" "watchGraceSeconds" "logLevel" "logFormat" -}}
watchNamespaces: {{ toJson .Values.watchNamespaces }}
images:
  operator: {{ include "yolofleet.image" (dict "root" . "image" "operator") }}
  builder: {{ include "yolofleet.image" (dict "root" . "image" "builder") }}
  triton: {{ include "yolofleet.image" (dict "root" . "image" "triton") }}
  pullPolicy: {{ .Values.images.pullPolicy }}
  pullSecrets: {{ toJson .Values.images.pullSecrets }}
builds:
  {{- include "yolofleet.section" $builds | nindent 2 }}
store:
  {{- toYaml $store | nindent 2 }}
serving:
  {{- include "yolofleet.section" .Values.serving | nindent 2 }}
scaling:
  {{- toYaml .Values.scaling | nindent 2 }}
dcgm:
  {{- toYaml .Values.dcgm | nindent 2 }}
monitoring:
  scrapeAnnotations: {{ include "yolofleet.annotated" (dict "root" . "monitor" .Values.monitoring.podMonitor) }}
{{ toYaml $operator }}
{{- end }}

{{/* What the operator may do in the namespaces that it serves: the verbs that it uses, on the kinds that it writes. */}}
{{- define "yolofleet.namespacedRules" -}}
# What is wanted; read only: nobody's spec is changed.
- apiGroups: [yolofleet.dev]
  resources: [yolodeployments]
  verbs: [get, list, watch]
# One engine per content, made and removed with the deployments that want it.
- apiGroups: [yolofleet.dev]
  resources: [yoloengines]
  verbs: [get, list, watch, create, patch, delete]
# Conditions, figures, and what a restart needs.
- apiGroups: [yolofleet.dev]
  resources: [yolodeployments/status, yoloengines/status]
  verbs: [patch]
# Children that block deletion, on clusters that check who may say so (OwnerReferencesPermissionEnforcement).
- apiGroups: [yolofleet.dev]
  resources: [yolodeployments/finalizers, yoloengines/finalizers]
  verbs: [update]
# Pods that serve: one Deployment per slice profile.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
# Builds: a Job is made, watched and removed, never changed.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
# One replica at a time while a node drains.
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
# The address of each YoloDeployment.
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
# The store of engines; never changed, never deleted: engines are in it.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch, create]
# What runs, where, on which device, and why it does not.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
# Only to tell which YoloDeployment one of them targets.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch]
{{ include "yolofleet.eventRules" . }}
{{- end }}

{{- define "yolofleet.eventRules" -}}
# What happened, for `kubectl describe`.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/* The operator as the subject of a binding. */}}
{{- define "yolofleet.subject" -}}
- kind: ServiceAccount
  name: {{ include "yolofleet.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{/* Whether the Prometheus operator's API is there. */}}
{{- define "yolofleet.canMonitor" -}}
{{- if .Capabilities.APIVersions.Has "monitoring.coreos.com/v1" }}true{{ end }}
{{- end }}

{{/* Whether pods carry prometheus.io/* annotations: as told, or where the monitor that stands for them is not made. */}}
{{- define "yolofleet.annotated" -}}
{{- $monitored := and .monitor.enabled (eq (include "yolofleet.canMonitor" .root) "true") }}
{{- $told := toString .root.Values.monitoring.annotations }}
{{- eq $told "auto" | ternary (not $monitored) (eq $told "true") }}
{{- end }}

{{/* Whether the API server has ValidatingAdmissionPolicies (Kubernetes 1.30 or newer). */}}
{{- define "yolofleet.canFence" -}}
{{- if semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version }}true{{ end }}
{{- end }}

{{/* The operator's name towards the API server. */}}
{{- define "yolofleet.userName" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "yolofleet.serviceAccountName" . }}
{{- end }}

{{/* The binding that puts the policy `name` in force. */}}
{{- define "yolofleet.fenceBinding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ .name }}
  labels:
    {{- include "yolofleet.labels" .root | nindent 4 }}
spec:
  policyName: {{ .name }}
  validationActions: [Deny]
{{- end }}

{{/* Names, of whoever answers them: node-local caches have addresses that no selector knows. */}}
{{- define "yolofleet.dnsEgress" -}}
- ports:
  - {port: 53, protocol: UDP}
  - {port: 53, protocol: TCP}
{{- end }}

{{/* The namespaces that are served, as half of a peer of a NetworkPolicy. */}}
{{- define "yolofleet.servedNamespaces" -}}
{{- with .Values.watchNamespaces }}
namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: {{ toJson . }}}]}
{{- else }}
namespaceSelector: {}
{{- end }}
{{- end }}
