{{/*
A Deployment of one pod that talks to the API server and to nobody else but who `name` stands for in the network policies.
Called with a dict: root, name, values (of the part), args, and mounts and volumes as YAML.
*/}}
{{- define "edgeroot.clusterPart" -}}
{{- $root := .root -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .account }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "edgeroot.labels" (list $root .name) | nindent 4 }}
spec:
  replicas: 1
  # One at a time: two would both act.
  strategy:
    type: Recreate
  selector:
    matchLabels:
      {{- include "edgeroot.selector" (list $root .name) | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "edgeroot.labels" (list $root .name) | nindent 8 }}
    spec:
      serviceAccountName: {{ .account }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      priorityClassName: {{ .values.priorityClassName }}
      securityContext:
        {{- include "edgeroot.podSecurity" $root | nindent 8 }}
      {{- include "edgeroot.placement" (list $root .values) | nindent 6 }}
      containers:
        - name: {{ .name }}
          image: {{ include "edgeroot.image" $root }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          args:
            {{- range .args }}
            - {{ . | quote }}
            {{- end }}
          {{- with .ports }}
          ports:
            {{- . | nindent 12 }}
          {{- end }}
          securityContext:
            {{- include "edgeroot.restricted" $root | nindent 12 }}
          {{- with .probes }}
          {{- . | nindent 10 }}
          {{- end }}
          resources:
            {{- toYaml .values.resources | nindent 12 }}
          volumeMounts:
            - {{ include "edgeroot.apiTokenMount" $root }}
            {{- with .mounts }}
            {{- . | nindent 12 }}
            {{- end }}
      volumes:
        {{- include "edgeroot.apiToken" $root | nindent 8 }}
        {{- with .volumes }}
        {{- . | nindent 8 }}
        {{- end }}
{{- end }}

{{/* The key that the verifier signs results with, for those who rely on results. */}}
{{- define "edgeroot.verifierKeyVolume" -}}
- name: verifier-key
  configMap: {name: {{ .Values.attestation.keyConfigMap | quote }}, items: [{key: verifier.pem, path: verifier.pem}]}
{{- end }}
