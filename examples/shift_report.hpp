#pragma once

// What came out of covariate_shift: two CSV files for other programs, a table for the eye.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "observed_training.hpp"
#include "pictures.hpp"

namespace digits {

struct ShiftResult {
  std::string network, name;
  float rate;
  std::vector<Observation> observations;
};

inline std::string line_of(const std::string& network, const std::string& name, const Observation& now) {
  std::array<char, 200> line{};
  std::snprintf(line.data(), line.size(), "%s, %s: step %d, training loss %.3f, test loss %.3f, accuracy %.1f %%",
                network.c_str(), name.c_str(), now.step, now.train_loss, now.test.loss, 100 * now.test.correct);
  return line.data();
}

inline void write_curves(const std::filesystem::path& file, const std::vector<ShiftResult>& results) {
  std::ofstream csv = create(file);
  csv << "network,arm,rate,step,train_loss,test_loss,test_accuracy,clipped,p15,p50,p85\n";
  for (const ShiftResult& result : results)
    for (const Observation& now : result.observations)
      csv << result.network << ',' << result.name << ',' << result.rate << ',' << now.step << ',' << now.train_loss
          << ',' << now.test.loss << ',' << now.test.correct << ',' << now.clipped << ',' << now.middle_unit()[0] << ','
          << now.middle_unit()[1] << ',' << now.middle_unit()[2] << '\n';
  if (!csv.flush()) throw std::runtime_error("cannot write " + file.string());
}

/// Layers are counted from 1; the first has none below and no shift.
inline void write_shifts(const std::filesystem::path& file, const std::vector<ShiftResult>& results) {
  std::ofstream csv = create(file);
  csv << "network,arm,rate,step,layer,gradient,l2,cosine\n";
  for (const ShiftResult& result : results)
    for (const Observation& now : result.observations)
      for (std::size_t i = 0; i < now.shifts.size(); ++i)
        csv << result.network << ',' << result.name << ',' << result.rate << ',' << now.step << ',' << i + 2 << ','
            << now.shifts[i].norm << ',' << now.shifts[i].l2 << ',' << now.shifts[i].cosine << '\n';
  if (!csv.flush()) throw std::runtime_error("cannot write " + file.string());
}

inline std::string steps_to(double accuracy, const std::vector<Observation>& observations) {
  for (const Observation& now : observations)
    if (now.test.correct >= accuracy) return std::to_string(now.step);
  return "never";
}

/// NaN of none; values that are no numbers are left out.
inline double median(std::vector<double> values) {
  values.erase(std::remove_if(values.begin(), values.end(), [](double v) { return !std::isfinite(v); }), values.end());
  if (values.empty()) return std::nan("");
  std::sort(values.begin(), values.end());
  return (values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2;
}

template <class Value>
double median_of(const std::vector<Observation>& observations, const Value& value) {
  std::vector<double> values;
  values.reserve(observations.size());
  for (const Observation& now : observations) values.push_back(value(now));
  return median(std::move(values));
}

inline double clipped_share(const std::vector<Observation>& observations) {
  double sum = 0;
  for (const Observation& now : observations) sum += now.clipped;
  return sum / static_cast<double>(observations.size());
}

template <class Wanted>
std::vector<Observation> only(std::vector<Observation> observations, const Wanted& wanted) {
  const auto other = [&](const Observation& now) { return !wanted(now); };
  observations.erase(std::remove_if(observations.begin(), observations.end(), other), observations.end());
  return observations;
}

/// From step 50 on: before, running statistics are still those of their first values, 0 and 1.
inline std::vector<Observation> settled(const std::vector<Observation>& observations) {
  return only(observations, [](const Observation& now) { return now.step >= 50; });
}

/// While the training loss falls from 1 to 0.1. Above, some arms stand on a plateau where gradients hardly move;
/// below, gradients vanish and shifts with them: arms are comparable between.
inline std::vector<Observation> learning(const std::vector<Observation>& observations) {
  return only(observations, [](const Observation& now) { return now.train_loss <= 1 && now.train_loss > 0.1; });
}

inline double width(const Percentiles& unit) { return unit[2] - unit[0]; }

/// How far the unit's median wanders from its lowest to its highest, in widths of a typical band of percentiles.
inline double wander(const std::vector<Observation>& observations, std::size_t unit) {
  const auto median_at = [&](const Observation& now) { return now.units[unit][1]; };
  const auto lower = [&](const Observation& a, const Observation& b) { return median_at(a) < median_at(b); };
  const auto [low, high] = std::minmax_element(observations.begin(), observations.end(), lower);
  const auto width_at = [&](const Observation& now) { return width(now.units[unit]); };
  return (median_at(*high) - median_at(*low)) / median_of(observations, width_at);
}

/// The widest band of percentiles beside the narrowest.
inline double growth(const std::vector<Observation>& observations, std::size_t unit) {
  const auto width_at = [&](const Observation& now) { return width(now.units[unit]); };
  const auto narrower = [&](const Observation& a, const Observation& b) { return width_at(a) < width_at(b); };
  const auto [low, high] = std::minmax_element(observations.begin(), observations.end(), narrower);
  return width_at(*high) / width_at(*low);
}

/// The median over the units of the last hidden layer of measure(observations, unit).
template <class Measure>
double of_a_unit(const std::vector<Observation>& observations, const Measure& measure) {
  std::vector<double> values;
  for (std::size_t unit = 0; !observations.empty() && unit < observations[0].units.size(); ++unit)
    values.push_back(measure(observations, unit));
  return median(std::move(values));
}

/// The shift of the last hidden layer, which is the last layer but one: its median while the network learns.
template <class Value>
double shift_of_last_hidden(const std::vector<Observation>& observations, const Value& value) {
  return median_of(learning(observations),
                   [&](const Observation& now) { return value(now.shifts[now.shifts.size() - 2]); });
}

inline void print_row(const ShiftResult& result) {
  const std::vector<Observation>& seen = result.observations;
  const double l2 = shift_of_last_hidden(seen, [](const GradientShift& shift) { return shift.l2; });
  const double relative = shift_of_last_hidden(seen, [](const GradientShift& shift) { return shift.l2 / shift.norm; });
  const double cosine = shift_of_last_hidden(seen, [](const GradientShift& shift) { return shift.cosine; });
  std::printf("%-27s %5g %6s %6s %6.1f %% %8.2f %6.1f %5zu %9.3f %7.2f %7.3f\n",
              (result.network + ", " + result.name).c_str(), static_cast<double>(result.rate),
              steps_to(0.90, seen).c_str(), steps_to(0.95, seen).c_str(), 100 * seen.back().test.correct,
              of_a_unit(settled(seen), wander), of_a_unit(settled(seen), growth), learning(seen).size(), l2, relative,
              cosine);
}

inline void print_table(const std::vector<ShiftResult>& results) {
  std::printf("\n%-27s %5s %13s %8s %15s %31s\n", "", "", "steps", "final", "a unit's input",
              "shift of the last hidden layer");
  std::printf("%-27s %5s %6s %6s %8s %8s %6s %5s %9s %7s %7s\n", "arm", "rate", "to 90%", "to 95%", "accuracy",
              "wander", "growth", "n", "|G - G'|", "/ |G|", "cosine");
  for (const ShiftResult& result : results) print_row(result);
  for (const ShiftResult& result : results)
    if (clipped_share(result.observations) > 0)
      std::printf("%s: %.1f %% of the steps were clipped.\n", result.name.c_str(),
                  100 * clipped_share(result.observations));
}

}  // namespace digits
