# What Doxygen reads instead of a file.
#
# Of a header: without namespace core, and each layer has the members that it inherits. So the page of a layer is
# complete, and every comment is written once. A macro that programs define, and no header does, has a comment with
# `@def NAME`; here it is defined. Headers are read as clang-format leaves them: members begin behind two spaces, what
# belongs to a member behind more.
# Of README.md: without links to other files, and with code spans that Doxygen reads as such.

BEGIN {
  split("protocol pass_protocol layer tracking_layer any_norm " \
        "core/pass/engine core/pass/layer_state core/whitening/whitening_engine", headers, " ")
  for (i in headers) read_classes("include/tensornorm/" headers[i] ".hpp")
}

# What a caller sees of a declaration: the comment says which types it takes and returns.
function put(text) {
  gsub(/, class = std::enable_if_t<[^\n]*>>\n/, ">\n", text)
  gsub(/core::Result<Scalar, [A-Z]> /, "auto ", text)
  gsub(/Scalar_/, "Scalar", text)
  printf "%s", text
}

# ---- the classes that layers derive from: comments and declarations of their members

function read_classes(path, line, class, access, state, template, n) {
  while ((getline line < path) > 0) {
    if (line ~ /^template </) template = line
    if (line ~ /^class /) {
      class = word(line, 2)
      bases[class] = bases_in(line, template)
      access = "private:"
    } else if (line ~ /^};/) {
      class = ""
    } else if (line ~ /^ (public|protected|private):/) {
      access = word(line, 1)
      state = ""
    } else if (class == "" || line ~ /^  (\/\/[^\/]|static_assert)/) {
      if (state == "declared") state = ""
    } else if (line ~ /^  [^ }]/) {
      if (state != "open") {
        n = ++members[class]
        accesses[class, n] = access
      }
      state = line ~ /^  (\/\/\/|template )/ ? "open" : "declared"
      texts[class, n] = texts[class, n] line "\n"
      if (state == "declared") names[class, n] = name_of(line)
    } else if (state == "declared" && line ~ /^  [ }]/) {
      texts[class, n] = texts[class, n] line "\n"
    }
  }
  close(path)
}

function word(line, i, words) {
  split(line, words, " ")
  return words[i]
}

# The words behind the name of a class, but for its own name and its template parameters.
function bases_in(line, template, words, i, n, result) {
  gsub(/[^A-Za-z]+/, " ", line)
  n = split(line, words, " ")
  for (i = 3; i <= n; ++i) {
    if (words[i] != words[2] && template !~ ("class " words[i] "[,>]")) result = result " " words[i]
  }
  return result
}

function name_of(line) {
  if (line ~ /^  using typename/) sub(/.*::/, "", line)
  else if (line ~ /^  using [A-Za-z]+ =/) line = word(line, 2)
  else if (match(line, /operator[^ A-Za-z]+\(|[A-Za-z_]+\(/)) return substr(line, RSTART, RLENGTH - 1)
  sub(/;.*/, "", line)
  return line
}

function is_documented(text) { return text ~ /^  \/\/\// }
function exposes(text) { return text ~ /^  using [A-Z][A-Za-z]*::[a-z]/ }

# using Base::beta, Base::mean;
function expose(line) {
  while (match(line, /::[a-z_]+/)) {
    exposed[substr(line, RSTART + 2, RLENGTH - 2)] = 1
    line = substr(line, RSTART + RLENGTH)
  }
}

# ---- what a layer inherits

# Those that the layer or a class nearer to it declares and describes hide others of their name.
function put_members(class, words, i, n, name, text) {
  for (i = 1; i <= members[class]; ++i) {
    if (accesses[class, i] == "public:" && exposes(texts[class, i])) expose(texts[class, i])
  }
  for (i = 1; i <= members[class]; ++i) {
    name = names[class, i]
    text = texts[class, i]
    if (accesses[class, i] != "public:" && !(accesses[class, i] == "protected:" && name in exposed)) continue
    if (is_documented(texts[class, i - 1]) && names[class, i - 1] == name && text ~ /^  [^\/].*\(\) const /)
      text = "  /// The same of a const layer.\n" text
    if (!is_documented(text)) {
      undocumented[name] = text
    } else if (!(name in described) || described[name] == class) {
      described[name] = class
      gsub(/Protocol/, layer, text)
      sub(/ Options& /, " " options "\\& ", text)
      put(text)
    }
  }
  n = split(bases[class], words, " ")
  for (i = 1; i <= n; ++i) put_members(words[i])
}

# Doxygen is to find what nobody describes.
function put_inherited(name) {
  put_members(layer)
  for (name in undocumented) {
    if (!(name in described) && !exposes(undocumented[name])) put(undocumented[name])
  }
  layer = ""
}

# ---- the file

FILENAME ~ /\.md$/ {
  if (/^```/) is_code = !is_code
  if (!is_code) gsub(/`[^`]+`/, "`&`")  # a quotation mark would end a code span
  while (!is_code && match($0, /\[[^]]*\]\([^):]*\)/)) {
    link = substr($0, RSTART + 1, RLENGTH - 1)
    sub(/\].*/, "", link)
    $0 = substr($0, 1, RSTART - 1) link substr($0, RSTART + RLENGTH)
  }
  print
  next
}

/^namespace core [{]/ { in_core = 1 }
in_core {
  if (/^}  \/\/ namespace core/) in_core = 0
  next
}

/^template </ { template_line = $0 }
/^class [A-Za-z]+ : public / {
  layer = $2
  bases[layer] = bases_in($0, template_line)
  options = match($0, /[A-Za-z]+Options/) ? substr($0, RSTART, RLENGTH) : "Options"
  print "class " layer " {"
  next
}
layer != "" && exposes($0) {
  expose($0)
  next
}
layer != "" && /^( private:|};)/ { put_inherited() }
/^  friend / { next }

macro != "" && !/^\/\/\// {
  print "#define " macro
  macro = ""
}
/^\/\/\/ @def / { macro = $3 }

{ put($0 "\n") }
