// What is compiled where.
//
// A file *-inl.hpp holds bodies in which no type of a program's appears. Header-only, the default, each header includes
// its own, and every file of a program compiles the bodies that it uses. With TENSORNORM_COMPILED defined for all files
// of a program they compile none: the files of tensornorm/instantiate/ hold them.
#pragma once

#ifdef TENSORNORM_COMPILED
#define TENSORNORM_BODY
#else
#define TENSORNORM_BODY inline
#endif
