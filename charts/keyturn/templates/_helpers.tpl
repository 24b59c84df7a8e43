{{/* Labels of everything that the chart makes; `component` may be empty. Call with (dict "root" $ "component" ""). */}}
{{- define "keyturn.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: keyturn
{{ include "keyturn.selector" . }}
{{- end }}

{{/* What Services and Deployments find pods by. It can't be changed by an upgrade. */}}
{{- define "keyturn.selector" -}}
app.kubernetes.io/name: keyturn
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{- define "keyturn.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{/*
Objects of a file that the repository keeps elsewhere too, in the release's namespace and with its labels.
Call with (dict "root" $ "file" PATH); with "labels" and "annotations" they get these as well, with "only" the rights in
them are confined to that namespace.
*/}}
{{- define "keyturn.copied" -}}
{{- $text := .root.Files.Get .file | replace "keyturn-system" .root.Release.Namespace -}}
{{- range splitList "\n---\n" $text }}
{{- $object := fromYaml . }}
{{- $labels := fromYaml (include "keyturn.labels" (dict "root" $.root "component" "")) }}
{{- $_ := set $object.metadata "labels" (merge $labels ($.labels | default dict) ($object.metadata.labels | default dict)) }}
{{- with $.annotations }}
{{- $_ := set $object.metadata "annotations" . }}
{{- end }}
{{- if and $.only (ne $object.kind "ServiceAccount") }}
{{- $object = fromYaml (include "keyturn.confined" (dict "object" $object "namespace" $.only)) }}
{{- end }}
---
{{ toYaml $object }}
{{- end }}
{{- end }}

{{/* The same rights in one namespace only: a Role for a ClusterRole, without the rules for what is in no namespace. */}}
{{- define "keyturn.confined" -}}
{{- $object := .object }}
{{- if hasPrefix "Cluster" $object.kind }}
{{- $_ := set $object "kind" (trimPrefix "Cluster" $object.kind) }}
{{- $_ := set $object.metadata "namespace" .namespace }}
{{- with $object.roleRef }}
{{- $_ := set . "kind" "Role" }}
{{- end }}
{{- with $object.rules }}
{{- $rules := list }}
{{- range . }}
{{- if not (or (has "namespaces" .resources) (has "admissionregistration.k8s.io" .apiGroups)) }}
{{- $rules = append $rules . }}
{{- end }}
{{- end }}
{{- $_ := set $object "rules" $rules }}
{{- end }}
{{- end }}
{{- toYaml $object }}
{{- end }}

{{/* Arguments of every process. */}}
{{- define "keyturn.arguments" -}}
- --operator-namespace={{ .Release.Namespace }}
{{- with .Values.namespace }}
- {{ printf "--namespace=%s" . | quote }}
{{- end }}
- --health-listen=0.0.0.0:8081
- {{ printf "--log-level=%s" .Values.log.level | quote }}
- --log-format={{ .Values.log.format }}
{{- end }}

{{/* What the restricted profile of Pod Security asks for, and no way to write to the image. */}}
{{- define "keyturn.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
# Mounted Secrets are readable by this group only.
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "keyturn.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Being alive depends on nothing but the process; readiness names what is missing. */}}
{{- define "keyturn.probes" -}}
livenessProbe:
  httpGet: {path: /livez, port: health}
  periodSeconds: 10
  timeoutSeconds: 2
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: health}
  periodSeconds: 3
  timeoutSeconds: 2
  failureThreshold: 2
{{- end }}

{{/* Where pods run: (dict "root" $ "component" "verifier"). */}}
{{- define "keyturn.placement" -}}
{{- $values := index .root.Values .component -}}
# One node, or one zone, should not take all of them away; a cluster of one node runs them all the same.
topologySpreadConstraints:
{{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "keyturn.selector" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
{{- end }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Labels and annotations of pods: (dict "root" $ "component" "verifier"). */}}
{{- define "keyturn.podMetadata" -}}
{{- $values := index .root.Values .component -}}
labels:
  {{- include "keyturn.selector" . | nindent 2 }}
  {{- with $values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $values.podAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The Secret with the certificate of a port, empty without TLS: (dict "port" "grpc" "tls" .Values...tls). */}}
{{- define "keyturn.tlsSecret" -}}
{{- if .tls.issuerRef.name -}}
{{ .tls.secretName | default (printf "keyturn-verifier-%s-tls" .port) }}
{{- else -}}
{{ .tls.secretName }}
{{- end -}}
{{- end }}

{{/* Arguments of a port with TLS. */}}
{{- define "keyturn.tlsArguments" -}}
{{- if include "keyturn.tlsSecret" . }}
- --{{ .port }}-tls-cert=/etc/keyturn/{{ .port }}/tls/tls.crt
- --{{ .port }}-tls-key=/etc/keyturn/{{ .port }}/tls/tls.key
{{- end }}
{{- if .tls.clientCaSecretName }}
- --{{ .port }}-client-ca=/etc/keyturn/{{ .port }}/client-ca/ca.crt
{{- end }}
{{- end }}
