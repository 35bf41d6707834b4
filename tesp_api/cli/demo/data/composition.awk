# How often each base occurs, and the length of the sequence. For any awk.
/^>/ { next }
{
    sequence = toupper($0)
    length_bp += length(sequence)
    split("A C G T", bases, " ")
    for (i = 1; i <= 4; i++) count[bases[i]] += gsub(bases[i], "", sequence)
    other += length(sequence)
}
END {
    printf "base\tcount\tpercent\n"
    for (i = 1; i <= 4; i++)
        printf "%s\t%d\t%.2f\n", bases[i], count[bases[i]], 100 * count[bases[i]] / length_bp
    printf "other\t%d\t%.2f\n", other, 100 * other / length_bp
    printf "length\t%d\t100.00\n", length_bp
}
