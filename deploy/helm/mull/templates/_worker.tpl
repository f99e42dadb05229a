{{/* Deployment, Service and autoscaler of an engine or a verifier: a dict of root, component, name, fullname, port, spec, args. */}}
{{- define "mull.worker" -}}
{{- $root := .root }}{{- $spec := .spec }}
{{- $of := list $root .component .name }}
{{- $volumes := list $spec.cache.claim $spec.cache.size $spec.shm }}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .fullname }}
  labels: {{- include "mull.labels" $of | nindent 4 }}
spec:
  {{- if not $spec.autoscaling.enabled }}
  replicas: {{ $spec.replicas }}
  {{- end }}
  # Loading a model is no failure to progress.
  progressDeadlineSeconds: {{ add $spec.startup 600 }}
  # A GPU that is taken cannot be surged to.
  strategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 1, maxSurge: 0}}
  selector:
    matchLabels: {{- include "mull.selector" $of | nindent 6 }}
  template:
    metadata:
      labels: {{- include "mull.labels" $of | nindent 8 }}
    spec:
      serviceAccountName: {{ include "mull.fullname" $root }}
      automountServiceAccountToken: false
      # vLLM reads variables that begin with VLLM_, which a Service of that name would set.
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ add ($spec.drain | default 0) 60 }}
      securityContext: {{- include "mull.podSecurity" $root | nindent 8 }}
      {{- with $root.Values.imagePullSecrets }}
      imagePullSecrets: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- include "mull.placement" $spec | nindent 6 }}
      containers:
        - name: {{ .component }}
          image: {{ include "mull.image" (list $root $spec.image) }}
          args: {{- toYaml .args | nindent 12 }}
          securityContext: {{- include "mull.containerSecurity" $root | nindent 12 }}
          ports: [{name: http, containerPort: {{ .port }}}]
          env:
            # Caches that would be under a home directory which this user does not have.
            - {name: HOME, value: /data}
            - {name: USER, value: mull}
            - {name: HF_HOME, value: /data/huggingface}
            - {name: XDG_CACHE_HOME, value: /data/cache}
            - {name: TORCHINDUCTOR_CACHE_DIR, value: /data/cache/inductor}
            {{- with $root.Values.secret }}
            - name: HF_TOKEN
              valueFrom: {secretKeyRef: {name: {{ . }}, key: HF_TOKEN, optional: true}}
            {{- if eq $.component "engine" }}
            - name: VLLM_API_KEY
              valueFrom: {secretKeyRef: {name: {{ . }}, key: VLLM_API_KEY, optional: true}}
            {{- end }}
            {{- end }}
            {{- include "mull.env" $spec.env | nindent 12 }}
          lifecycle:
            # Cluster DNS lets addresses be remembered for 30 seconds: until then requests still come.
            preStop: {exec: {command: [sleep, "40"]}}
          {{- include "mull.probes" (list "http" "/health" $spec.startup "HTTP") | nindent 10 }}
          resources: {{- include "mull.resources" (list $spec.resources $spec.gpus $spec.gpuResource) | nindent 12 }}
          volumeMounts: {{- include "mull.mounts" $volumes | nindent 12 }}
      volumes: {{- include "mull.volumes" $volumes | nindent 8 }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ .fullname }}
  labels: {{- include "mull.labels" $of | nindent 4 }}
spec:
  # Headless: its name has the address of every pod that is ready, and servers choose among them.
  clusterIP: None
  selector: {{- include "mull.selector" $of | nindent 4 }}
  ports: [{name: http, port: {{ .port }}, targetPort: http}]
{{- if $spec.autoscaling.enabled }}
---
{{ include "mull.autoscaler" (list $of .fullname $spec.autoscaling) }}
{{- end }}
{{- end }}
