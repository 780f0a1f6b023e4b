#include "ours.hpp"

template bench::ContenderPtr bench::make_ours<float>(const Cell&, const Operands&);
