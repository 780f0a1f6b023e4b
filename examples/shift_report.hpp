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
          << ',' << now.test.loss << ',' << now.test.correct << ',' << now.clipped << ',' << now.unit[0] << ','
          << now.unit[1] << ',' << now.unit[2] << '\n';
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

inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// The median of value(observation), where that is a number and the training loss above least_loss.
template <class Value>
double typical(const std::vector<Observation>& observations, double least_loss, const Value& value) {
  std::vector<double> values;
  for (const Observation& now : observations)
    if (now.train_loss > least_loss && std::isfinite(value(now))) values.push_back(value(now));
  return values.empty() ? std::nan("") : median(std::move(values));
}

inline double clipped_share(const std::vector<Observation>& observations) {
  double sum = 0;
  for (const Observation& now : observations) sum += now.clipped;
  return sum / static_cast<double>(observations.size());
}

inline double width(const Observation& now) { return now.unit[2] - now.unit[0]; }

/// Those from step 50 on: before, running statistics are still those of their first values, 0 and 1.
inline std::vector<Observation> settled(std::vector<Observation> observations) {
  const auto early = [](const Observation& now) { return now.step < 50; };
  observations.erase(std::remove_if(observations.begin(), observations.end(), early), observations.end());
  return observations;
}

/// How far the unit's median wanders from its lowest to its highest, in widths of a typical band of percentiles.
inline double wander(const std::vector<Observation>& observations) {
  const auto lower = [](const Observation& a, const Observation& b) { return a.unit[1] < b.unit[1]; };
  if (observations.empty()) return std::nan("");
  const auto [low, high] = std::minmax_element(observations.begin(), observations.end(), lower);
  return (high->unit[1] - low->unit[1]) / typical(observations, 0, width);
}

/// The widest band of percentiles beside the narrowest.
inline double growth(const std::vector<Observation>& observations) {
  const auto narrower = [](const Observation& a, const Observation& b) { return width(a) < width(b); };
  if (observations.empty()) return std::nan("");
  const auto [low, high] = std::minmax_element(observations.begin(), observations.end(), narrower);
  return width(*high) / width(*low);
}

/// The shift of the last hidden layer, which is the last layer but one. While there is something to learn, that is as
/// long as the training loss is above 0.1: then gradients vanish, and shifts with them.
template <class Value>
double shift_of_last_hidden(const std::vector<Observation>& observations, const Value& value) {
  return typical(observations, 0.1, [&](const Observation& now) { return value(now.shifts[now.shifts.size() - 2]); });
}

inline void print_row(const ShiftResult& result) {
  const std::vector<Observation>& seen = result.observations;
  const double l2 = shift_of_last_hidden(seen, [](const GradientShift& shift) { return shift.l2; });
  const double relative = shift_of_last_hidden(seen, [](const GradientShift& shift) { return shift.l2 / shift.norm; });
  const double cosine = shift_of_last_hidden(seen, [](const GradientShift& shift) { return shift.cosine; });
  std::printf("%-27s %5g %6s %6s %6.1f %% %8.2f %6.1f %9.3f %7.2f %7.3f\n",
              (result.network + ", " + result.name).c_str(), static_cast<double>(result.rate),
              steps_to(0.90, seen).c_str(), steps_to(0.95, seen).c_str(), 100 * seen.back().test.correct,
              wander(settled(seen)), growth(settled(seen)), l2, relative, cosine);
}

inline void print_table(const std::vector<ShiftResult>& results) {
  std::printf("\n%-27s %5s %13s %8s %15s %25s\n", "", "", "steps", "final", "a unit's input",
              "shift of hidden layer 3");
  std::printf("%-27s %5s %6s %6s %8s %8s %6s %9s %7s %7s\n", "arm", "rate", "to 90%", "to 95%", "accuracy", "wander",
              "growth", "|G - G'|", "/ |G|", "cosine");
  for (const ShiftResult& result : results) print_row(result);
  for (const ShiftResult& result : results)
    if (clipped_share(result.observations) > 0)
      std::printf("%s: %.1f %% of the steps were clipped.\n", result.name.c_str(),
                  100 * clipped_share(result.observations));
}

}  // namespace digits
