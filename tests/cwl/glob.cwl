cwlVersion: v1.2
class: CommandLineTool
inputs: {}
outputs:
  all: {type: "File[]", outputBinding: {glob: "*.txt"}}
  two: {type: "File[]", outputBinding: {glob: ["b.*", "sub/?.dat"]}}
  none: {type: File?, outputBinding: {glob: "*.missing"}}
  odd: {type: File, outputBinding: {glob: "an odd*"}}
baseCommand: [sh, -c, 'mkdir sub; for f in b a .hidden "an odd %20 #1"; do echo "$f" > "$f.txt"; done; echo z > sub/z.dat']
