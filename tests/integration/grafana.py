"""Checks a dashboard against what Grafana publishes of its schema: dashboard_kind.cue for the
dashboard, panels and variables, panelcfg.cue and common/mudball.cue for the kinds of panels used
here, dataquery.cue of its data source for Prometheus. Besides, that panels do not overlap and every
variable that is used is there.

Only what this repository's dashboard uses is known: another key, value or kind of panel is a
finding. It must not know schemux.
"""

import re

SCHEMA_VERSION_MIN = 39  # of Grafana 10.4
COLUMNS = 24
# Grafana's own.
BUILT_IN = {"__rate_interval", "__interval", "__range", "__all"}
UNITS = {"short", "none", "percentunit", "s", "reqps", "ops", "bytes", "Bps"}

DATASOURCE = {"type": str, "uid": str}
THRESHOLDS = {"mode": {"absolute", "percentage"},
              "steps": [{"color": str, "value": (int, float, type(None))}]}
STACKING = {"group": str, "mode": {"none", "normal", "percent"}}
REDUCE = {"calcs": [str], "fields": str, "values": bool}
LEGEND = {"displayMode": {"list", "table", "hidden"}, "placement": {"bottom", "right"},
          "showLegend": bool, "calcs": [str]}
DEFAULTS = {"unit": UNITS, "decimals?": int, "min?": (int, float), "max?": (int, float),
            "noValue?": str, "thresholds?": THRESHOLDS, "color?": {
                "mode": {"thresholds", "palette-classic", "fixed"}, "fixedColor?": str},
            "mappings?": [{"type": {"value"}, "options": dict}]}
OVERRIDES = [{"matcher": {"id": {"byName", "byRegexp"}, "options": str},
              "properties": [{"id": str, "value": (dict, int, str, bool)}]}]
LINES = {"drawStyle": {"line", "bars", "points"}, "fillOpacity": int, "lineWidth": int,
         "lineInterpolation": {"linear", "smooth", "stepBefore", "stepAfter"}, "spanNulls": bool,
         "showPoints": {"auto", "never", "always"}, "stacking": STACKING}
# type: what options and fieldConfig.defaults.custom may be.
PANELS = {
    "stat": ({"colorMode": {"none", "value", "background"}, "graphMode": {"none", "line", "area"},
              "justifyMode": {"auto", "center"},
              "orientation": {"auto", "vertical", "horizontal"}, "reduceOptions": REDUCE,
              "textMode": {"auto", "value", "value_and_name", "name", "none"}}, None),
    "timeseries": ({"legend": LEGEND, "tooltip": {"mode": {"single", "multi", "none"},
                                                  "sort": {"asc", "desc", "none"}}}, LINES),
    "table": ({"showHeader": bool, "cellHeight": {"sm", "md", "lg"},
               "sortBy": [{"displayName": str, "desc": bool}]},
              {"align": {"auto", "left", "right", "center"}}),
}
GRID = {"h": int, "w": int, "x": int, "y": int}
TARGET = {"refId": str, "datasource": DATASOURCE, "expr": str, "legendFormat": str, "range": bool,
          "instant": bool, "editorMode": {"code", "builder"},
          "format?": {"time_series", "table", "heatmap"}}
ROW = {"id": int, "type": {"row"}, "title": str, "collapsed": bool, "gridPos": GRID, "panels": list}
VARIABLE = {"name": str, "label": str, "description": str, "type": {"query", "datasource"},
            "datasource?": DATASOURCE, "definition?": str, "query": (str, dict),
            "refresh": {0, 1, 2}, "regex": str, "sort?": int, "multi": bool,
            "includeAll": bool, "allValue?": str, "current": dict, "hide": {0, 1, 2},
            "options": list, "skipUrlSync": bool}
ANNOTATION = {"name": str, "datasource": DATASOURCE, "enable": bool, "hide": bool, "iconColor": str,
              "builtIn?": int, "type?": str, "expr?": str, "step?": str, "titleFormat?": str,
              "textFormat?": str}
DASHBOARD = {"uid": str, "title": str, "description": str, "tags": [str], "schemaVersion": int,
             "version": int, "editable": bool, "graphTooltip": {0, 1, 2}, "timezone": str,
             "refresh": str, "time": {"from": str, "to": str}, "timepicker": dict, "links": list,
             "fiscalYearStartMonth": int, "annotations": {"list": [ANNOTATION]},
             "templating": {"list": [VARIABLE]}, "panels": list}


def differences(value, shape, where):
    """How `value` differs from `shape`: a type or several, a set of values, a list's one element,
    or keys with theirs, of which `name?` may be missing."""
    if isinstance(shape, (type, tuple)):
        flag = isinstance(value, bool) and shape is not bool and bool not in (
            shape if isinstance(shape, tuple) else ())
        if flag or not isinstance(value, shape):
            yield f"{where}: {value!r} is not {shape}"
    elif isinstance(shape, set):
        if isinstance(value, (dict, list)) or value not in shape:
            yield f"{where}: {value!r} is none of {sorted(map(str, shape))}"
    elif isinstance(shape, list):
        if not isinstance(value, list):
            yield f"{where}: no list"
            return
        for number, element in enumerate(value):
            yield from differences(element, shape[0], f"{where}[{number}]")
    elif not isinstance(value, dict):
        yield f"{where}: no object"
    else:
        names = {name.rstrip("?") for name in shape}
        yield from (f"{where}.{name}: unknown" for name in value.keys() - names)
        for name, inner in shape.items():
            key = name.rstrip("?")
            if key in value:
                yield from differences(value[key], inner, f"{where}.{key}")
            elif not name.endswith("?"):
                yield f"{where}.{name}: missing"


def shape_of(panel):
    if panel.get("type") == "row":
        return ROW
    options, custom = PANELS.get(panel.get("type"), (dict, None))
    defaults = DEFAULTS if custom is None else {**DEFAULTS, "custom": custom}
    return {"id": int, "type": set(PANELS), "title": str, "description": str, "gridPos": GRID,
            "datasource": DATASOURCE, "targets": [TARGET], "options": options,
            "fieldConfig": {"defaults": defaults, "overrides": OVERRIDES},
            "transformations?": [{"id": str, "options": dict}]}


def texts_with_variables(dashboard):
    """All texts of it, but for those that people read."""
    def walk(value, key=""):
        if isinstance(value, dict):
            for name, inner in value.items():
                yield from walk(inner, name)
        elif isinstance(value, list):
            for inner in value:
                yield from walk(inner, key)
        elif isinstance(value, str) and key not in ("description", "title"):
            yield value
    return list(walk(dashboard))


def expressions(dashboard):
    """(title, PromQL) of all panels and annotations."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for annotation in dashboard["annotations"]["list"]:
        if "expr" in annotation:
            yield annotation["name"], annotation["expr"]


def label_queries(dashboard):
    """(variable, metric selector, label) of the variables that ask for a label's values."""
    for variable in dashboard["templating"]["list"]:
        found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable.get("definition", ""))
        if found:
            yield variable["name"], found[1], found[2]


def overlaps(panels):
    taken = {}
    for panel in panels:
        at = panel["gridPos"]
        if at["w"] < 1 or at["h"] < 1 or at["x"] < 0 or at["x"] + at["w"] > COLUMNS:
            yield f"{panel['title']}: outside of the grid"
        for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"])
                     for y in range(at["y"], at["y"] + at["h"])):
            if taken.setdefault(cell, panel["id"]) != panel["id"]:
                yield f"{panel['title']}: overlaps panel {taken[cell]}"
                break


def findings(dashboard):
    """What is wrong with it, as sentences."""
    shapes = [*differences(dashboard, DASHBOARD, "dashboard")]
    for number, panel in enumerate(dashboard.get("panels", [])):
        shapes += differences(panel, shape_of(panel), f"panels[{number}] {panel.get('title')}")
    if shapes:
        return shapes  # what follows relies on it
    found = list(overlaps(dashboard["panels"]))
    if dashboard["schemaVersion"] < SCHEMA_VERSION_MIN:
        found.append("schemaVersion: too old")
    ids = [panel["id"] for panel in dashboard["panels"]]
    found += [f"id {one}: twice" for one in set(ids) if ids.count(one) > 1]
    for panel in dashboard["panels"]:
        found += _findings_of_panel(panel)
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = {name for text in texts_with_variables(dashboard)
            for name in re.findall(r"\$\{?(\w+)", text)} - BUILT_IN
    found += [f"${name}: no such variable" for name in sorted(used - variables)]
    found += [f"${name}: used nowhere" for name in sorted(variables - used)]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query" and variable["query"].get("query") != \
                variable.get("definition"):
            found.append(f"${variable['name']}: query is not definition")
    return found


def _findings_of_panel(panel):
    title = panel["title"]
    if panel["type"] == "row":
        return
    if not re.fullmatch(r"[A-Z`a-z0-9].*\.", panel["description"]):
        yield f"{title}: the description is no sentence"
    references = [target["refId"] for target in panel["targets"]]
    if not references or len(set(references)) != len(references):
        yield f"{title}: no targets, or two of one refId"
    if any(target["datasource"] != panel["datasource"] for target in panel["targets"]):
        yield f"{title}: a target of another data source"
    if any(target["instant"] == target["range"] for target in panel["targets"]):
        yield f"{title}: a target is either instant or a range"
    thresholds = panel["fieldConfig"]["defaults"].get("thresholds")
    if thresholds:
        values = [step["value"] for step in thresholds["steps"]]
        if values[:1] != [None] or None in values[1:] or values[1:] != sorted(values[1:]):
            yield f"{title}: thresholds begin with null and ascend"
    legends = {target["legendFormat"] for target in panel["targets"]}
    for override in panel["fieldConfig"]["overrides"]:
        if override["matcher"]["id"] == "byName" and override["matcher"]["options"] not in legends:
            yield f"{title}: an override of what is not there"
