# Time per element against size: gnuplot -e "folder='benchmark-out'; threads='1'" sweep.gp
data = sprintf('%s/sweep-%s.dat', folder, threads)
set terminal pngcairo size 1000, 1000 font 'Sans,10'
set output sprintf('%s/sweep-%s.png', folder, threads)
set multiplot layout 2, 1 title sprintf('Nanoseconds per element, float, %s thread(s)', threads)
set logscale xy
set yrange [0.02:]
set format x '%.0s %cB'
set xtics 1024, 16
set xlabel 'bytes of x'
set grid
set key outside right autotitle columnhead noenhanced
series = 8
set title 'forward'
plot data using 1:3 with lines lw 3 lc 'grey', for [i = 4:3 + series] data using 1:i with linespoints lc i
set title 'backward'
plot data using 1:3 with lines lw 3 lc 'grey', \
     for [i = 4 + series:3 + 2 * series] data using 1:i with linespoints lc i - series
