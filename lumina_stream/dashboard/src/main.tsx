import { render } from "preact";

function App() {
  return <h1>lumina-stream</h1>;
}

render(<App />, document.getElementById("app")!);
