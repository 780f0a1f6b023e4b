# The target `docs`: the reference, docs/html/index.html in the build folder, which Doxygen makes of README.md and the
# comments of what is public. Whatever is public and has no comment is an error.
find_package(Doxygen 1.9.4 REQUIRED)
find_program(TENSORNORM_AWK awk REQUIRED)

set(DOXYGEN_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/docs)
set(DOXYGEN_USE_MDFILE_AS_MAINPAGE ${CMAKE_CURRENT_SOURCE_DIR}/README.md)
set(DOXYGEN_INPUT_FILTER "${TENSORNORM_AWK} -f cmake/docs.awk")
set(DOXYGEN_FILE_PATTERNS *.hpp)
# Each layer has their members.
set(DOXYGEN_EXCLUDE include/tensornorm/layer.hpp include/tensornorm/pass_protocol.hpp include/tensornorm/protocol.hpp
                    include/tensornorm/tracking_layer.hpp)
set(DOXYGEN_EXCLUDE_SYMBOLS Eigen Eigen::*)
set(DOXYGEN_STRIP_FROM_INC_PATH include)
set(DOXYGEN_WARN_AS_ERROR FAIL_ON_WARNINGS)
set(DOXYGEN_QUIET YES)

set(DOXYGEN_JAVADOC_AUTOBRIEF YES)
set(DOXYGEN_SORT_MEMBER_DOCS NO)
set(DOXYGEN_SHOW_FILES NO)
set(DOXYGEN_VERBATIM_HEADERS NO)
set(DOXYGEN_GENERATE_TREEVIEW YES)
set(DOXYGEN_GENERATE_LATEX NO)
set(DOXYGEN_HAVE_DOT NO)
set(DOXYGEN_CLASS_GRAPH NO)

doxygen_add_docs(docs README.md include COMMENT "Making the reference with Doxygen")
