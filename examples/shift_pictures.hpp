#pragma once

// The pictures of covariate_shift, to be read on a phone: gnuplot scripts for curves.csv and shift.csv.

#include <string>

namespace digits {

/// Colours that colour-blind readers can tell apart; the same arm has the same one everywhere.
constexpr const char* kPictureStyle = R"gnuplot(set datafile separator comma
color(name) = name eq "plain" || name eq "none" ? 0x000000 : name eq "BatchNorm" ? 0xd55e00 : \
              name eq "LayerNorm" || name eq "small rate" ? 0x0072b2 : \
              name eq "RMSNorm" || name eq "clipping" ? 0xcc79a7 : \
              name eq "InstanceNorm" || name eq "whitened input" ? 0x009e73 : 0xe69f00
width(name) = name eq "plain" || name eq "none" || name eq "BatchNorm" ? 4 : 2.5
picked(network, name, value) = strcol(1) eq network && strcol(2) eq name ? value : NaN

set border 3 linecolor rgb "#808080"
set tics nomirror
set grid linetype 1 linewidth 0.5 linecolor rgb "#d0d0d0"
set xlabel "step" offset 0,0.6
set title offset 0,-0.4
set key off
)gnuplot";

/// Three panels: what the tutorial sets beside BatchNorm, its kin, the convolutional network.
inline std::string accuracy_script() {
  return std::string(R"gnuplot(set terminal pngcairo size 1080,1920 font "Sans,26" linewidth 2
set output "accuracy.png"
)gnuplot") +
         kPictureStyle +
         R"gnuplot(
# Steps by their ratio, and accuracies stretched towards 100 %, so that 90, 95 and 98 lie well apart.
set logscale x
set autoscale xfix
set xtics (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
set nonlinear y via -log10(100 - y) inverse 100 - 10**(-y)
set yrange [0:99]
set ytics (0, 50, 80, 90, 95, 98)
set title offset 0,0.8

# The names stand above their panel, each as wide as it is long.
legend(arms) = sprintf("unset label; at = 0.0; do for [name in '%s'] { \
    set label '{/:Bold=22 ' . name . '}' textcolor rgb color(name) left at graph at, graph 1.05; \
    at = at + 0.0195 * strlen(name) + %g }", arms, strlen(arms) > 50 ? 0.02 : 0.05)
curves(network, arms) = sprintf("plot for [name in '%s'] 'curves.csv' \
    using (picked('%s', name, $4)):(picked('%s', name, $7 < 0.99 ? 100 * $7 : 99)) \
    with lines linewidth width(name) linecolor rgb color(name)", arms, network, network)
draw(network, arms) = legend(arms) . "; " . curves(network, arms)

set multiplot layout 3,1 margins 0.09,0.95,0.06,0.93 spacing 0,0.115
set title "test accuracy, %: BatchNorm and its rivals"
eval draw("dense", 'plain "small rate" clipping "whitened input" BatchNorm')
set title "BatchNorm and its kin"
eval draw("dense", "plain Whitening LayerNorm RMSNorm BatchNorm")
set title "convolutional network"
eval draw("convolutional", "none InstanceNorm GroupNorm BatchNorm")
)gnuplot";
}

/// Two panels, as figures 1b and 1c of Ioffe & Szegedy 2015.
inline std::string bands_script() {
  return std::string(R"gnuplot(set terminal pngcairo size 1080,1320 font "Sans,26" linewidth 2
set output "bands.png"
)gnuplot") +
         kPictureStyle +
         R"gnuplot(
set style fill solid 0.25 noborder
set autoscale xfix
set xtics 500
stats "curves.csv" using (picked("dense", "plain", $9)):(picked("dense", "plain", $11)) name "A" nooutput
stats "curves.csv" using (picked("dense", "BatchNorm", $9)):(picked("dense", "BatchNorm", $11)) name "B" nooutput
smaller(a, b) = a < b ? a : b
set yrange [smaller(A_min_x, B_min_x) - 0.5:-smaller(-A_max_y, -B_max_y) + 0.5]
set label "input of one sigmoid of hidden layer 3, test images:\nmedian, and band from 15th to 85th percentile" \
    center at screen 0.5, 0.97
set multiplot layout 2,1 margins 0.08,0.94,0.08,0.85 spacing 0,0.14
do for [name in "plain BatchNorm"] {
  set title (name eq "plain" ? "without" : "with") . " BatchNorm"
  plot "curves.csv" using (picked("dense", name, $4)):9:11 with filledcurves linecolor rgb color(name), \
       "" using (picked("dense", name, $4)):10 with lines linewidth 3 linecolor rgb color(name)
  unset label
}
)gnuplot";
}

/// A row for every layer that has others below: how long the change of its gradient is, and how far it turns.
inline std::string shift_script() {
  return std::string(R"gnuplot(set terminal pngcairo size 1080,1800 font "Sans,26" linewidth 2
set output "shift.png"
)gnuplot") +
         kPictureStyle +
         R"gnuplot(
arms = "plain BatchNorm LayerNorm"
titles = '"hidden layer 2" "hidden layer 3" "output layer"'

# Means of the observations of a sixth of a decade of steps each. awk picks them: `smooth` takes no missing steps.
middle(step) = 10 ** ((floor(6 * log10(step)) + 0.5) / 6)
mean(layer, name, column) = sprintf("< awk -F, '$1 == \"dense\" && $2 == \"%s\" && $5 == %d { print $4 \",\" $%d }' \
    shift.csv", name, layer, column)
set logscale x
set autoscale xfix
set xtics (10, 100, 1000, 10000)
do for [i = 1:3] {
  set label i "{/:Bold " . word(arms, i) . "}" textcolor rgb color(word(arms, i)) center at screen 0.3 * i - 0.08, 0.982
}
set multiplot layout 3,2 margins 0.13,0.96,0.06,0.92 spacing 0.12,0.1
do for [layer = 2:4] {
  set title word(titles, layer - 1) . ": |G - G'|"
  set logscale y
  set format y "10^{%T}"
  plot for [name in arms] mean(layer, name, 7) using (middle($1)):2 smooth unique \
       with lines linewidth width(name) linecolor rgb color(name)
  unset label
  set title "cosine of G and G'"
  unset logscale y
  set format y "%g"
  plot for [name in arms] mean(layer, name, 8) using (middle($1)):2 smooth unique \
       with lines linewidth width(name) linecolor rgb color(name)
}
)gnuplot";
}

}  // namespace digits
