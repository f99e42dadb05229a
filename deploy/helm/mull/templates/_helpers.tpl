{{- define "mull.fullname" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 32 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 32 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* Labels that choose pods: (list . component name). */}}
{{- define "mull.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: mull
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- if gt (len .) 2 }}
mull/name: {{ index . 2 }}
{{- end }}
{{- end }}

{{- define "mull.labels" -}}
{{- $root := index . 0 -}}
{{ include "mull.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version }}
{{- end }}

{{/* Names and addresses of engines and verifiers: (list . name). */}}
{{- define "mull.engineName" -}}
{{ include "mull.fullname" (index . 0) }}-engine-{{ index . 1 }}
{{- end }}
{{- define "mull.verifierName" -}}
{{ include "mull.fullname" (index . 0) }}-verifier-{{ index . 1 }}
{{- end }}
{{- define "mull.engine" -}}
http://{{ include "mull.engineName" . }}:8000/v1
{{- end }}
{{- define "mull.verifier" -}}
http://{{ include "mull.verifierName" . }}:8001
{{- end }}

{{- define "mull.image" -}}
{{- $root := index . 0 -}}{{- $image := index . 1 -}}
{{ $image.repository }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end }}

{{- define "mull.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "mull.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
privileged: false
capabilities: {drop: [ALL]}
{{- end }}

{{- define "mull.env" -}}
{{- range $name, $value := . }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{/* /data, /tmp and /dev/shm: (list claim size shm), as volumes and as mounts. */}}
{{- define "mull.volumes" -}}
- name: tmp
  emptyDir: {}
- name: data
{{- if index . 0 }}
  persistentVolumeClaim: {claimName: {{ index . 0 }}}
{{- else }}
  emptyDir: {sizeLimit: {{ index . 1 }}}
{{- end }}
{{- if index . 2 }}
- name: shm
  emptyDir: {medium: Memory, sizeLimit: {{ index . 2 }}}
{{- end }}
{{- end }}
{{- define "mull.mounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: data, mountPath: /data}
{{- if index . 2 }}
- {name: shm, mountPath: /dev/shm}
{{- end }}
{{- end }}

{{/* Requests and limits with GPUs: (list resources gpus gpuResource). */}}
{{- define "mull.resources" -}}
{{- $resources := deepCopy (index . 0) -}}
{{- if index . 1 -}}
{{- $_ := set $resources "limits" (merge (dict (index . 2) (index . 1)) ($resources.limits | default dict)) -}}
{{- end -}}
{{ toYaml $resources }}
{{- end }}

{{- define "mull.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* How a server is asked for a path: (list how port path). kubelet has no certificate to show, so the image asks itself. */}}
{{- define "mull.probe" -}}
{{- if eq (index . 0) "exec" -}}
exec: {command: [/opt/mull/health, {{ index . 1 | quote }}, {{ index . 2 }}]}
{{- else -}}
httpGet: {path: {{ index . 2 }}, port: {{ index . 1 }}, scheme: {{ index . 0 }}}
{{- end }}
{{- end }}

{{/* Probes: (list port ready startup how). Searches may keep a process busy, so liveness is patient. */}}
{{- define "mull.probes" -}}
{{- $healthy := include "mull.probe" (list (index . 3) (index . 0) "/health") -}}
startupProbe:
  {{ $healthy }}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: {{ div (add (index . 2) 4) 5 }}
livenessProbe:
  {{ $healthy }}
  periodSeconds: 20
  timeoutSeconds: 10
  failureThreshold: 6
readinessProbe:
  {{ include "mull.probe" (list (index . 3) (index . 0) (index . 1)) }}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 2
{{- end }}

{{/* An autoscaler that reads a metric of each pod: (list labels name autoscaling). */}}
{{- define "mull.autoscaler" -}}
{{- $scale := index . 2 -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ index . 1 }}
  labels: {{- include "mull.labels" (index . 0) | nindent 4 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ index . 1 }}}
  minReplicas: {{ $scale.min }}
  maxReplicas: {{ $scale.max }}
  metrics:
    - type: Pods
      pods:
        metric: {name: {{ $scale.metric }}}
        target: {type: AverageValue, averageValue: {{ $scale.target | quote }}}
  behavior:
    scaleUp:
      policies: [{type: Percent, value: 100, periodSeconds: 30}]
    scaleDown:
      stabilizationWindowSeconds: {{ $scale.stabilization }}
      policies: [{type: Pods, value: 1, periodSeconds: 120}]
{{- end }}
