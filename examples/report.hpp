#pragma once

// What came out: a table for the eye, a CSV for other programs, a picture.

#include <cstdio>
#include <ostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "training.hpp"

namespace digits {

struct Result {
  std::string network, name;
  float rate;
  std::vector<Reading> readings;
};

inline std::string epochs_to(double accuracy, const std::vector<Reading>& readings) {
  for (const Reading& reading : readings)
    if (reading.test_accuracy >= accuracy) {
      std::ostringstream epochs;
      epochs << reading.epochs;
      return epochs.str();
    }
  return "never";
}

inline double milliseconds_per_epoch(const std::vector<Reading>& readings) {
  double seconds = 0;
  for (const Reading& reading : readings) seconds += reading.seconds;
  return 1000 * seconds / readings.back().epochs;
}

inline void print_table(const std::vector<Result>& results) {
  std::printf("\n%-14s %-13s %6s %17s %8s %15s %13s\n", "network", "normalization", "rate", "epochs to 90 %", "to 95 %",
              "final accuracy", "ms per epoch");
  for (const Result& result : results)
    std::printf("%-14s %-13s %6g %17s %8s %13.1f %% %13.1f\n", result.network.c_str(), result.name.c_str(),
                static_cast<double>(result.rate), epochs_to(0.90, result.readings).c_str(),
                epochs_to(0.95, result.readings).c_str(), 100 * result.readings.back().test_accuracy,
                milliseconds_per_epoch(result.readings));
}

constexpr const char* kCsvHeader = "network,normalization,rate,epoch,train_loss,test_loss,test_accuracy,seconds\n";

inline void write_csv(std::ostream& csv, const Result& result) {
  for (const Reading& reading : result.readings)
    csv << result.network << ',' << result.name << ',' << result.rate << ',' << reading.epochs << ','
        << reading.train_loss << ',' << reading.test_loss << ',' << reading.test_accuracy << ',' << reading.seconds
        << '\n';
  if (!csv.flush()) throw std::runtime_error("cannot write curves.csv");
}

/// For `gnuplot curves.gp`, in the directory of curves.csv. Colours that colour-blind readers can tell apart.
constexpr const char* kGnuplotScript = R"(set terminal pngcairo size 1440,1600 font "Sans,27" linewidth 2
set output "curves.png"
set datafile separator comma

color(name) = name eq "none" ? 0x000000 : name eq "BatchNorm" ? 0xd55e00 : name eq "LayerNorm" ? 0x0072b2 : \
              name eq "RMSNorm" ? 0xcc79a7 : name eq "InstanceNorm" ? 0x009e73 : 0xe69f00
width(name) = name eq "none" ? 3.5 : 2
names(network) = network eq "dense" ? "none BatchNorm LayerNorm RMSNorm" \
                                    : "none BatchNorm InstanceNorm GroupNorm LayerNorm"
picked(network, name, value) = strcol(1) eq network && strcol(2) eq name ? value : NaN

set border 3 linecolor rgb "#808080"
set tics nomirror
set xrange [0:*]
set grid linetype 1 linewidth 0.5 linecolor rgb "#d0d0d0"
set xlabel "epoch" offset 0,0.6
set title offset 0,-0.4
set multiplot layout 2,2 margins 0.08,0.97,0.07,0.87 spacing 0.1,0.13

legend = "none BatchNorm LayerNorm RMSNorm InstanceNorm GroupNorm"
do for [i = 1:6] {
  set label i "{/:Bold " . word(legend, i) . "}" textcolor rgb color(word(legend, i)) center \
      at screen 0.2 + 0.3 * ((i - 1) % 3), screen 0.975 - 0.03 * ((i - 1) / 3)
}

unset key
do for [network in "dense convolutional"] {
  # Stretched towards 100 %, so that 90, 95 and 99 lie well apart.
  set title network . ": test accuracy, %"
  set nonlinear y via -log10(100 - y) inverse 100 - 10**(-y)
  set yrange [0:99.5]
  set ytics (0, 50, 80, 90, 95, 98, 99)
  plot for [name in names(network)] "curves.csv" \
       using (picked(network, name, $4)):(picked(network, name, $7 < 0.995 ? 100 * $7 : 99.5)) \
       with lines linewidth width(name) linecolor rgb color(name)

  set title network . ": training loss"
  unset nonlinear y
  set logscale y
  set yrange [*:*]
  set ytics autofreq
  set format y "10^{%T}"
  plot for [name in names(network)] "curves.csv" \
       using (picked(network, name, $4)):(picked(network, name, $5)) \
       with lines linewidth width(name) linecolor rgb color(name)
  unset logscale y
  set format y "%g"
  unset label
}
)";

}  // namespace digits
