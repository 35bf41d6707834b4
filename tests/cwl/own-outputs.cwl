cwlVersion: v1.2
class: CommandLineTool
doc: A tool that says itself what its outputs are.
inputs: {}
outputs:
  file: File
  number: int
baseCommand:
  - sh
  - -c
  - |
    mkdir d; echo own > d/own.txt
    echo '{"file": {"class": "File", "path": "d/own.txt"}, "number": 7}' > cwl.output.json
