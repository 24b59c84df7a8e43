{{/* Secrets that verifiers read files of, by the folder below /etc/keyturn: a list of {folder, secret}. */}}
{{- define "keyturn.verifierSecrets" -}}
{{- $verifier := .Values.verifier }}
{{- $valkey := $verifier.rateLimits.valkey }}
{{- range $port := list "grpc" "report" }}
{{- $options := index $verifier $port }}
{{- if $options.enabled }}
{{- with include "keyturn.tlsSecret" (dict "port" $port "tls" $options.tls) }}
- {folder: {{ $port }}/tls, secret: {{ . | quote }}}
{{- end }}
{{- with $options.tls.clientCaSecretName }}
- {folder: {{ $port }}/client-ca, secret: {{ . | quote }}}
{{- end }}
{{- with $options.tokenSecretName }}
- {folder: {{ $port }}/token, secret: {{ . | quote }}}
{{- end }}
{{- end }}
{{- end }}
{{- if eq $verifier.rateLimits.store "valkey" }}
{{- with $valkey.passwordSecretName }}
- {folder: valkey/password, secret: {{ . | quote }}}
{{- end }}
{{- with $valkey.caSecretName }}
- {folder: valkey/ca, secret: {{ . | quote }}}
{{- end }}
{{- end }}
{{- end }}

{{- define "keyturn.verifierMounts" -}}
{{- range fromYamlArray (include "keyturn.verifierSecrets" .) }}
- {name: {{ .folder | replace "/" "-" }}, mountPath: /etc/keyturn/{{ .folder }}, readOnly: true}
{{- end }}
{{- with .Values.verifier.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Whole Secrets, which Kubernetes keeps up to date in running pods: Keyturn reads them again by itself. */}}
{{- define "keyturn.verifierVolumes" -}}
{{- range fromYamlArray (include "keyturn.verifierSecrets" .) }}
- name: {{ .folder | replace "/" "-" }}
  secret: {secretName: {{ .secret | quote }}, defaultMode: 0440}
{{- end }}
{{- with .Values.verifier.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
