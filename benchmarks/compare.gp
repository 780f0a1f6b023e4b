# Ratios to the floor, a row a cell: gnuplot -e "folder='benchmark-out'" compare.gp
data = folder . '/compare.dat'
last = 32  # what is further off is drawn there
stats data using 2 nooutput
set terminal pngcairo size 900, 120 + 16 * STATS_records font 'Sans,9'
set output folder . '/compare.png'
set title 'Time over the floor: 1 is what the memory allows'
set logscale x 2
set xrange [0.5:last]
set yrange [STATS_records - 0.5:-1]
set grid x
set key top right box opaque
set arrow from 1, graph 0 to 1, graph 1 nohead lw 2 lc 'grey'
at(ratio) = ratio > last ? last : ratio
plot data using (at($2)):0:yticlabels(1) with points pt 7 ps 0.9 lc rgb '#0a6e5c' title 'tensornorm', \
     data using (at($3)):0 with points pt 2 ps 0.9 lc rgb '#c0392b' title 'best peer'
