# The G+C content in windows of `width` bases, with a bar for the eye. For any awk.
/^>/ { next }
{ sequence = sequence toupper($0) }
END {
    printf "from\tto\tgc_percent\n"
    total = length(sequence)
    for (from = 1; from <= total; from += width) {
        window = substr(sequence, from, width)
        size = length(window)
        percent = 100 * gsub(/[GC]/, "", window) / size
        bar = ""
        while (length(bar) < percent / 2) bar = bar "#"
        printf "%d\t%d\t%.1f\t%s\n", from, from + size - 1, percent, bar
    }
}
