#include "ours.hpp"

template bench::ContenderPtr bench::make_ours<Eigen::half>(const Cell&, const Operands&);
