// Where the page begins: settings and address first, so that the first drawing is the right one.

import { render } from "preact";

import { applyRoute } from "./state/route";
import { applySettings } from "./state/settings";
import "./style.css";
import { App } from "./views/app";

applySettings();
applyRoute();
render(<App />, document.getElementById("app")!);
