cwlVersion: v1.2
class: CommandLineTool
inputs:
  bam: {type: File, secondaryFiles: [.bai, ^.alt, {pattern: .none, required: false}]}
outputs:
  copy: {type: File, outputBinding: {glob: copy.bam}, secondaryFiles: [.bai]}
arguments:
  - sh
  - -c
  - 'cp "$1" copy.bam && cat "$1.bai" "$2/data.alt" > copy.bam.bai'
  - --
  - $(inputs.bam.path)
  - $(inputs.bam.dirname)
