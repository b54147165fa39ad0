{{/* Where a Deployment's pods run; called with a list of the root and the part's values. */}}
{{- define "edgeroot.placement" -}}
{{- $root := index . 0 -}}
{{- $part := index . 1 -}}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Replicas on machines of their own, if there are several; called with a list of the root and the part's name. */}}
{{- define "edgeroot.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "edgeroot.selector" . | nindent 8 }}
{{- end }}

{{/* Probes of what serves /healthz and /readyz on the port "metrics". */}}
{{- define "edgeroot.httpProbes" -}}
startupProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 3
  failureThreshold: 40
livenessProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 20
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
{{- end }}

{{/* Where the node's pods run: on edge nodes, also while these bear our taints. */}}
{{- define "edgeroot.nodePlacement" -}}
{{- include "edgeroot.placement" (list . (omit .Values.node "tolerations")) }}
tolerations:
  # What runs here is what proves the node; it has to be there before the node is affirmed, and when it is no more.
  - {key: edgeroot.dev/unattested, operator: Exists, effect: NoSchedule}
  - {key: edgeroot.dev/contraindicated, operator: Exists, effect: NoExecute}
  {{- with .Values.node.tolerations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
