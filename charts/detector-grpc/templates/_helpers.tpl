{{/* Names. */}}
{{- define "detector-grpc.fullname" -}}
{{ default .Release.Name .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "detector-grpc.serviceAccountName" -}}
{{ default (include "detector-grpc.fullname" .) .Values.serviceAccount.name }}
{{- end }}

{{- define "detector-grpc.awsSecretName" -}}
{{ default (printf "%s-aws-credentials" .Release.Name) .Values.awsCredentials.existingSecret }}
{{- end }}

{{- define "detector-grpc.resumeKeySecretName" -}}
{{ default (printf "%s-resume-key" (include "detector-grpc.fullname" .)) .Values.streams.existingSecret }}
{{- end }}

{{- define "detector-grpc.modelsClaimName" -}}
{{ default (printf "%s-models" (include "detector-grpc.fullname" .)) .Values.persistence.models.existingClaim }}
{{- end }}

{{- define "detector-grpc.driftClaimName" -}}
{{ default (printf "%s-drift" (include "detector-grpc.fullname" .)) .Values.persistence.drift.existingClaim }}
{{- end }}

{{- define "detector-grpc.model" -}}
{{ ternary "codes" .Values.model .Values.demo }}
{{- end }}

{{/* What finds the pods of a part: (dict "root" $ "component" "server" "version" "v1"), the version for servers only. */}}
{{- define "detector-grpc.selector" -}}
app.kubernetes.io/name: detector-grpc
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- with .version }}
model-version: {{ . | quote }}
{{- end }}
{{- end }}

{{/* As the selector, and what changes with releases. */}}
{{- define "detector-grpc.labels" -}}
{{ include "detector-grpc.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* An image: (dict "root" $ "image" {…}), what it leaves out as in `image`. */}}
{{- define "detector-grpc.image" -}}
{{- $all := .root.Values.image }}
{{- $own := default dict .image }}
{{- $repository := default $all.repository $own.repository }}
{{- $tag := default (default .root.Chart.AppVersion $all.tag) $own.tag }}
{{- $digest := ternary $own.digest $all.digest (or (hasKey $own "repository") (hasKey $own "digest") (hasKey $own "tag")) }}
{{- $repository }}:{{ $tag }}{{ with $digest }}@{{ . }}{{ end }}
{{- end }}

{{/* The values of one version: (dict "root" $ "override" {…}). */}}
{{- define "detector-grpc.version" -}}
{{- $keys := list "replicaCount" "resources" "provider" "file" "settings" "autoscaling" "nodeSelector" "tolerations" "runtimeClassName" }}
{{- $own := dict "image" dict }}
{{- range $keys }}
{{- $_ := set $own . (deepCopy (index $.root.Values .)) }}
{{- end }}
{{- toYaml (mergeOverwrite $own (deepCopy (default dict .override))) }}
{{- end }}

{{/* Names of the versions, sorted, as a list in JSON. */}}
{{- define "detector-grpc.versions" -}}
{{ keys .Values.versions | sortAlpha | toJson }}
{{- end }}

{{/* Addresses of the servers of all versions: (dict "root" $ "port" 50051). */}}
{{- define "detector-grpc.servers" -}}
{{- $addresses := list }}
{{- range include "detector-grpc.versions" .root | fromJsonArray }}
{{- $addresses = append $addresses (printf "%s-%s:%v" (include "detector-grpc.fullname" $.root) . $.port) }}
{{- end }}
{{- join "," $addresses }}
{{- end }}

{{/* A setting as its variable has it; whole numbers without an exponent. */}}
{{- define "detector-grpc.value" -}}
{{- if kindIs "float64" . }}{{ if eq (floor .) . }}{{ int64 . }}{{ else }}{{ . }}{{ end }}{{ else }}{{ . }}{{ end }}
{{- end }}

{{/* A mapping of settings as a container's `env`. */}}
{{- define "detector-grpc.env" -}}
{{- range $name, $value := . }}
- name: {{ $name }}
  value: {{ include "detector-grpc.value" $value | quote }}
{{- end }}
{{- end }}

{{/* What all processes are told, by variable. */}}
{{- define "detector-grpc.settings" -}}
{{- $settings := dict
  "LOG_LEVEL" .Values.logLevel
  "DETECTOR_MODELS_DEFAULT_MODEL" (include "detector-grpc.model" .)
  "DETECTOR_SERVER_DRAIN_WAIT_S" .Values.drain.waitSeconds
  "DETECTOR_SERVER_GRACE_S" .Values.drain.graceSeconds
  "DETECTOR_CAPTURE_SINK" .Values.capture.sink
}}
{{- if .Values.auth.existingSecret }}
{{- $_ := set $settings "DETECTOR_AUTH_CALLERS_FILE" "/etc/detector-grpc/auth/callers.yaml" }}
{{- range list "DETECTOR_GATEWAY_TOKEN_FILE" "DETECTOR_DRIFT_TOKEN_FILE" "DETECTOR_SHADOW_TOKEN_FILE" }}
{{- $_ := set $settings . "/etc/detector-grpc/auth/token" }}
{{- end }}
{{- else }}
{{- $_ := set $settings "DETECTOR_AUTH_MODE" "open" }}
{{- end }}
{{- if .Values.drift.enabled }}
{{- $_ := set $settings "DETECTOR_DRIFT_TARGET" (printf "%s-drift:50040" (include "detector-grpc.fullname" .)) }}
{{- end }}
{{- $settings = merge $settings .Values.settings }}
{{- range $variable, $value := $settings }}
{{ $variable }}: {{ include "detector-grpc.value" $value | quote }}
{{- end }}
{{- end }}
