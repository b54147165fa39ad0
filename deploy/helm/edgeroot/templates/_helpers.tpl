{{/* Names are fixed: labels, taints and the resource are the cluster's, so there is one edgeroot in a cluster. */}}

{{- define "edgeroot.image" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ $tag }}
{{- end -}}
{{- end }}

{{/* Labels of an object; called with a list of the root and the part's name. */}}
{{- define "edgeroot.labels" -}}
{{- $root := index . 0 -}}
{{ include "edgeroot.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What finds a part's pods, which must never change. */}}
{{- define "edgeroot.selector" -}}
app.kubernetes.io/name: edgeroot
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* A container that may do nothing but run: what Pod Security calls "restricted", and a root that cannot be written. */}}
{{- define "edgeroot.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* The same for a whole pod of Deployments, whose user is the image's own. */}}
{{- define "edgeroot.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* The API server's token, its certificate authority and the namespace, for those containers alone that need them. */}}
{{- define "edgeroot.apiToken" -}}
- name: api-token
  projected:
    # For the one container that mounts it: the kubelet gives it to a user only if the whole pod is that user's.
    defaultMode: 0444
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3600}
      - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
      - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
{{- end }}

{{- define "edgeroot.apiTokenMount" -}}
{name: api-token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- end }}

{{- define "edgeroot.verifierUrl" -}}
{{- if .Values.attestation.verifierUrl -}}
{{ .Values.attestation.verifierUrl }}
{{- else if .Values.verifier.enabled -}}
https://edgeroot-verifier.{{ .Release.Namespace }}.svc:{{ .Values.verifier.service.port }}
{{- else -}}
{{ fail "attestation.verifierUrl is empty and verifier.enabled is false: say which verifier judges the nodes" }}
{{- end -}}
{{- end }}

{{/* Files of deploy/kubernetes, which are written for the namespace edgeroot-system. */}}
{{- define "edgeroot.file" -}}
{{- $root := index . 0 -}}
{{ $root.Files.Get (index . 1) | replace "edgeroot-system" $root.Release.Namespace }}
{{- end }}
