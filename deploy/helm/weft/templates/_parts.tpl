{{/* Names and labels. */}}
{{- define "weft.labels" -}}
app.kubernetes.io/name: weft
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{- define "weft.selector" -}}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "weft.pod-security" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "weft.container-security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: ["ALL"]
{{- end }}

{{/* Kubernetes' own probes of gRPC speak no TLS: there `weft health` asks. Where the mesh makes its certificates, it needs the operator's token for that, which
     only the coordinator has that was the first on a store: on a Redis, that the port is open must do. */}}
{{- define "weft.probe" -}}
{{- if eq .Values.security.mode "plain" -}}
grpc:
  port: 7700
  service: weft.v1.CoordinatorService
{{- else if eq .Values.security.mode "files" -}}
exec:
  command: ["weft", "health", "--target", "127.0.0.1:7700"]
{{- else if eq .Values.store.kind "embedded" -}}
exec:
  command: ["sh", "-c", "set -a; . /var/lib/weft/join.env; WEFT_TOKEN_FILE=/var/lib/weft/operator.token exec weft health --target 127.0.0.1:7700"]
{{- else -}}
tcpSocket:
  port: join
{{- end }}
{{- end }}

{{- define "weft.coordinator-pod" -}}
metadata:
  labels:
    {{- include "weft.labels" (dict "root" . "component" "coordinator") | nindent 4 }}
  {{- with .Values.coordinator.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ .Release.Name }}-coordinator
  automountServiceAccountToken: {{ .Values.serviceAccount.pools }}
  terminationGracePeriodSeconds: {{ .Values.coordinator.terminationGracePeriodSeconds }}
  securityContext:
    {{- include "weft.pod-security" . | nindent 4 }}
  {{- if eq .Values.store.kind "redis" }}
  topologySpreadConstraints:
    {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "weft.selector" (dict "root" $ "component" "coordinator") | nindent 10 }}
    {{- end }}
  {{- end }}
  containers:
    - name: coordinator
      image: {{ .Values.coordinator.image | quote }}
      imagePullPolicy: {{ .Values.coordinator.imagePullPolicy }}
      args:
        - coordinator
        - --listen
        - 0.0.0.0:7700
        - --metrics
        - 0.0.0.0:{{ .Values.metrics.port }}
        {{- if .Values.keda.enabled }}
        - --keda
        {{- end }}
        {{- if eq .Values.security.mode "auto" }}
        - --ca
        - auto
        {{- end }}
        {{- with .Values.coordinator.args }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      env:
        - name: WEFT_COORDINATOR_ID
          valueFrom:
            fieldRef:
              fieldPath: metadata.name
        {{- if eq .Values.store.kind "embedded" }}
        - name: WEFT_STORE
          value: /var/lib/weft/weft.db
        {{- else if .Values.store.urlSecret.name }}
        - name: WEFT_STORE
          valueFrom:
            secretKeyRef:
              name: {{ .Values.store.urlSecret.name }}
              key: {{ .Values.store.urlSecret.key }}
        {{- else }}
        - name: WEFT_STORE
          value: {{ .Values.store.url | quote }}
        {{- end }}
        {{- if eq .Values.store.kind "redis" }}
        - name: WEFT_CONNECTION_AGE_S
          value: {{ .Values.coordinator.connectionAgeSeconds | quote }}
        - name: WEFT_DRAIN_S
          value: {{ .Values.coordinator.drainSeconds | quote }}
        {{- end }}
        {{- if eq .Values.security.mode "plain" }}
        - name: WEFT_INSECURE
          value: "true"
        {{- else }}
        - name: WEFT_TOKENS
          value: "on"
        - name: WEFT_OPERATOR_TOKEN_FILE
          value: /var/lib/weft/operator.token
        {{- end }}
        {{- if eq .Values.security.mode "auto" }}
        - name: WEFT_JOIN_FILE
          value: /var/lib/weft/join.env
        - name: WEFT_CA_NAMES
          value: {{ printf "%s,%s.%s,%s-each" .Release.Name .Release.Name .Release.Namespace .Release.Name | quote }}
        {{- else if eq .Values.security.mode "files" }}
        - name: WEFT_TLS_CERT
          value: /etc/weft/tls/tls.crt
        - name: WEFT_TLS_KEY
          value: /etc/weft/tls/tls.key
        - name: WEFT_TLS_CA
          value: /etc/weft/tls/ca.crt
        {{- end }}
        {{- with .Values.coordinator.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - name: grpc
          containerPort: 7700
        {{- if eq .Values.security.mode "auto" }}
        - name: join
          containerPort: 7701
        {{- end }}
        - name: metrics
          containerPort: {{ .Values.metrics.port }}
      # It may recover a large store, or wait for the one before it.
      startupProbe:
        {{- include "weft.probe" . | nindent 8 }}
        periodSeconds: 2
        timeoutSeconds: 5
        failureThreshold: 150
      # SERVING while its store takes tasks.
      readinessProbe:
        {{- include "weft.probe" . | nindent 8 }}
        periodSeconds: 5
        timeoutSeconds: 5
      # Not by health: a Redis that is away is no reason to restart.
      livenessProbe:
        tcpSocket:
          port: grpc
        periodSeconds: 10
      lifecycle:
        preStop:
          sleep:
            seconds: {{ .Values.coordinator.preStopSleepSeconds }}
      resources:
        {{- toYaml .Values.coordinator.resources | nindent 8 }}
      securityContext:
        {{- include "weft.container-security" . | nindent 8 }}
      volumeMounts:
        - name: data
          mountPath: /var/lib/weft
        - name: tmp
          mountPath: /tmp
        {{- if eq .Values.security.mode "files" }}
        - name: tls
          mountPath: /etc/weft/tls
          readOnly: true
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {}
    {{- if eq .Values.store.kind "redis" }}
    - name: data
      emptyDir: {}
    {{- end }}
    {{- if eq .Values.security.mode "files" }}
    - name: tls
      secret:
        secretName: {{ required "security.tlsSecret names the Secret of the certificate" .Values.security.tlsSecret }}
        defaultMode: 0440
    {{- end }}
  {{- with .Values.coordinator.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.coordinator.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
