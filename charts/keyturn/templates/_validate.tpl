{{/* Mistakes that the schema can't tell, and with which no verifier would start. */}}
{{- define "keyturn.validate" -}}
{{- range $port := list "grpc" "report" }}
{{- $options := index $.Values.verifier $port }}
{{- $secured := include "keyturn.tlsSecret" (dict "port" $port "tls" $options.tls) }}
{{- if and $options.enabled $options.tls.clientCaSecretName (not $secured) }}
{{- fail (printf "verifier.%s.tls.clientCaSecretName needs a certificate: give verifier.%s.tls.secretName or issuerRef too" $port $port) }}
{{- end }}
{{- end }}
{{- with .Values.verifier.report }}
{{- if .enabled }}
{{- if not (or .tokenSecretName .tls.clientCaSecretName) }}
{{- fail "verifier.report.enabled would let anybody report anything: give verifier.report.tokenSecretName or tls.clientCaSecretName" }}
{{- end }}
{{- if not (include "keyturn.tlsSecret" (dict "port" "report" "tls" .tls)) }}
{{- fail "verifier.report.tokenSecretName would be sent in the clear: give verifier.report.tls.secretName or issuerRef too" }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.verifier.autoscaling }}
{{- if and .enabled (lt (int .maxReplicas) (int .minReplicas)) }}
{{- fail (printf "verifier.autoscaling.maxReplicas=%v is less than minReplicas=%v" .maxReplicas .minReplicas) }}
{{- end }}
{{- end }}
{{- end }}
