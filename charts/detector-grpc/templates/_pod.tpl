{{/* What all pods have in common: (dict "root" $ "priority" true). */}}
{{- define "detector-grpc.pod" -}}
{{- $values := .root.Values }}
serviceAccountName: {{ include "detector-grpc.serviceAccountName" .root }}
automountServiceAccountToken: false
# Variables that Kubernetes makes of a Service's name could look like settings.
enableServiceLinks: false
{{- with $values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  {{- if not (kindIs "invalid" $values.runAsUser) }}
  runAsUser: {{ int64 $values.runAsUser }}
  {{- end }}
  {{- if not (kindIs "invalid" $values.fsGroup) }}
  fsGroup: {{ int64 $values.fsGroup }}
  fsGroupChangePolicy: OnRootMismatch
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "detector-grpc.podAnnotations" -}}
# Whoever reads the settings starts anew when they change.
checksum/settings: {{ include "detector-grpc.settings" . | sha256sum }}
{{- with .Values.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "detector-grpc.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{- define "detector-grpc.envFrom" -}}
envFrom:
  - configMapRef:
      name: {{ include "detector-grpc.fullname" . }}-settings
{{- end }}

{{/* Where secrets are, for containers of ours, and the volume; nothing without `auth.existingSecret`. */}}
{{- define "detector-grpc.authMount" -}}
{{- if .Values.auth.existingSecret }}
- name: auth
  mountPath: /etc/detector-grpc/auth
  readOnly: true
{{- end }}
{{- end }}

{{- define "detector-grpc.authVolume" -}}
{{- with .Values.auth.existingSecret }}
- name: auth
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end }}

{{/* Where what runs may write. */}}
{{- define "detector-grpc.tmpVolume" -}}
- name: tmp
  emptyDir:
    sizeLimit: 256Mi
{{- end }}
