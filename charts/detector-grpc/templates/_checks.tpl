{{/* What no schema can say. All that is wrong is told at once, each with the name of its value. */}}
{{- define "detector-grpc.checks" -}}
{{- $faults := list }}
{{- $versions := include "detector-grpc.versions" . | fromJsonArray }}
{{- if not $versions }}
{{- $faults = append $faults "versions: there is none" }}
{{- end }}
{{- $sum := 0 }}
{{- range $version, $weight := .Values.traffic.weights }}
{{- $sum = add $sum $weight }}
{{- if and (not (has $version $versions)) (gt (int $weight) 0) }}
{{- $faults = append $faults (printf "traffic.weights.%s: there is no such version; there are %s" $version (join ", " $versions)) }}
{{- end }}
{{- end }}
{{- if ne (int $sum) 100 }}
{{- $faults = append $faults (printf "traffic.weights: they must be 100 together, got %d" (int $sum)) }}
{{- end }}
{{- range $version, $_ := .Values.traffic.shadow }}
{{- if not (has $version $versions) }}
{{- $faults = append $faults (printf "traffic.shadow.%s: there is no such version; there are %s" $version (join ", " $versions)) }}
{{- end }}
{{- end }}
{{- if and .Values.traffic.shadow .Values.gateway.tls.existingSecret }}
{{- $faults = append $faults "traffic.shadow: servers send copies to the gateway, and do not encrypt them: not together with gateway.tls.existingSecret; let an Ingress or gatewayAPI encrypt" }}
{{- end }}
{{- if and .Values.traffic.shadow (not .Values.gateway.enabled) }}
{{- $faults = append $faults "traffic.shadow: needs gateway.enabled" }}
{{- end }}
{{- $places := list }}
{{- if .Values.models.image }}{{ $places = append $places "models.image" }}{{ end }}
{{- if .Values.models.download }}{{ $places = append $places "models.download" }}{{ end }}
{{- if .Values.models.volume }}{{ $places = append $places "models.volume" }}{{ end }}
{{- if gt (len $places) 1 }}
{{- $faults = append $faults (printf "models: there can be only one of %s" (join ", " $places)) }}
{{- end }}
{{- if not (or $places .Values.persistence.models.enabled .Values.demo) }}
{{- $faults = append $faults "models: there are none: set persistence.models.enabled, models.image, models.download or models.volume, or try demo" }}
{{- end }}
{{- $pods := 0 }}
{{- $sameNode := true }}
{{- range $version, $override := .Values.versions }}
{{- $own := include "detector-grpc.version" (dict "root" $ "override" $override) | fromYaml }}
{{- $pods = add $pods (ternary $own.autoscaling.maxReplicas $own.replicaCount $own.autoscaling.enabled) }}
{{- if not (hasKey $own.nodeSelector "kubernetes.io/hostname") }}{{ $sameNode = false }}{{ end }}
{{- if and (gt (int $own.autoscaling.minReplicas) (int $own.autoscaling.maxReplicas)) $own.autoscaling.enabled }}
{{- $faults = append $faults (printf "autoscaling.minReplicas: of %s it is more than maxReplicas" $version) }}
{{- end }}
{{- if and $own.autoscaling.enabled (not $own.autoscaling.targetCPUUtilizationPercentage) (not $own.autoscaling.targetQueueDepth) }}
{{- $faults = append $faults (printf "autoscaling: of %s there is neither targetCPUUtilizationPercentage nor targetQueueDepth" $version) }}
{{- end }}
{{- if and $own.file (not (has $version (list "v1" "v2"))) }}
{{- $faults = append $faults (printf "versions.%s.file: only v1 and v2 can be single files; the others are <model>/<version>/model.onnx" $version) }}
{{- end }}
{{- if and (has $own.provider (list "CUDAExecutionProvider" "TensorrtExecutionProvider")) (not (hasKey (default dict $own.resources.limits) "nvidia.com/gpu")) }}
{{- $faults = append $faults (printf "provider: %s of %s needs nvidia.com/gpu in resources.limits" $own.provider $version) }}
{{- end }}
{{- end }}
{{- $claim := .Values.persistence.models }}
{{- if and $claim.enabled (not $places) (has $claim.accessMode (list "ReadWriteOnce" "ReadWriteOncePod")) (gt (int $pods) 1) (or (not $sameNode) (eq $claim.accessMode "ReadWriteOncePod")) }}
{{- $faults = append $faults (printf "persistence.models.accessMode: up to %d pods shall mount a volume that is %s: take a storage class with ReadWriteMany or ReadOnlyMany, or models.image or models.download, which give each pod its own copy, or name one node in nodeSelector (kubernetes.io/hostname)" (int $pods) $claim.accessMode) }}
{{- end }}
{{- if and .Values.awsCredentials.accessKeyId (not .Values.awsCredentials.secretAccessKey) }}
{{- $faults = append $faults "awsCredentials.secretAccessKey: is missing" }}
{{- end }}
{{- if and .Values.awsCredentials.secretAccessKey (not .Values.awsCredentials.accessKeyId) }}
{{- $faults = append $faults "awsCredentials.accessKeyId: is missing" }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.gateway.enabled) }}
{{- $faults = append $faults "ingress.enabled: needs gateway.enabled" }}
{{- end }}
{{- if and .Values.gatewayAPI.enabled (not .Values.gatewayAPI.parentRefs) }}
{{- $faults = append $faults "gatewayAPI.parentRefs: there is none" }}
{{- end }}
{{- if $faults }}
{{- fail (printf "\n- %s" (join "\n- " $faults)) }}
{{- end }}
{{- end }}
