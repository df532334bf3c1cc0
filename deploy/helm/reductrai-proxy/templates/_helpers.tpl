{{/* Names, labels, and what the pods of the proxy and of upkeep have in common. */}}

{{- define "reductrai.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "reductrai.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "reductrai.labels" -}}
{{ include "reductrai.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "reductrai.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "reductrai.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "reductrai.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{/* A Deployment's pods lose their disks: an acknowledgement has to mean more than that. */}}
{{- define "reductrai.durability" -}}
{{- default (eq .Values.workload "statefulset" | ternary "disk" "store") .Values.durability -}}
{{- end -}}

{{- define "reductrai.isAutoscaled" -}}
{{- if or .Values.autoscaling.enabled .Values.keda.enabled -}}true{{- end -}}
{{- end -}}

{{- define "reductrai.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "reductrai.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "reductrai.secretEnv" -}}
{{- range .Values.secretSettings }}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret }}
      key: {{ .key }}
      optional: {{ default false .optional }}
{{- end }}
{{- end -}}

{{/* What cannot work is refused before anything is installed. */}}
{{- define "reductrai.check" -}}
{{- if and (eq .Values.workload "deployment") (not .Values.storage.url) (not .Values.persistence.enabled) -}}
{{- fail "nothing would outlive a pod: set storage.url (a bucket), or persistence.enabled with a volume that all replicas share, or workload=statefulset" -}}
{{- end -}}
{{- if and (eq .Values.workload "deployment") (eq .Values.durability "disk") -}}
{{- fail "durability=disk needs workload=statefulset: only the same pod could finish what it took, and a Deployment's pods change" -}}
{{- end -}}
{{- if and (eq .Values.workload "statefulset") (not .Values.persistence.enabled) -}}
{{- fail "workload=statefulset needs persistence.enabled: without it no replica has a disk" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled .Values.keda.enabled -}}
{{- fail "autoscaling or keda, not both: KEDA makes an autoscaler of its own" -}}
{{- end -}}
{{- if and (eq .Values.workload "statefulset") (include "reductrai.isAutoscaled" .) (not .Values.storage.url) -}}
{{- fail "replicas that keep what they took on disks of their own cannot be scaled down by a machine" -}}
{{- end -}}
{{- end -}}
