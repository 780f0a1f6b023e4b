#include "ours.hpp"

template bench::ContenderPtr bench::make_ours<double>(const Cell&, const Operands&);
