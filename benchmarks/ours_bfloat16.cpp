#include "ours.hpp"

template bench::ContenderPtr bench::make_ours<Eigen::bfloat16>(const Cell&, const Operands&);
