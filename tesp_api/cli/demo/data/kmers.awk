# Every word of `k` bases and how often it occurs, in no order. For any awk.
/^>/ { next }
{ sequence = sequence toupper($0) }
END {
    for (from = 1; from <= length(sequence) - k + 1; from++) count[substr(sequence, from, k)]++
    for (word in count) printf "%s\t%d\n", word, count[word]
}
