// The parts of Apache ECharts that the reports use; build.sh bundles them into echarts.min.js.
import { use, init, connect, registerTheme } from "echarts/core";
import { BarChart, CustomChart, HeatmapChart, LineChart, ScatterChart } from "echarts/charts";
import {
  AriaComponent, BrushComponent, DataZoomComponent, GraphicComponent, GridComponent, LegendComponent,
  MarkLineComponent, MarkPointComponent, ToolboxComponent, TooltipComponent, VisualMapComponent,
} from "echarts/components";
import { CanvasRenderer } from "echarts/renderers";

use([
  BarChart, CustomChart, HeatmapChart, LineChart, ScatterChart,
  AriaComponent, BrushComponent, DataZoomComponent, GraphicComponent, GridComponent, LegendComponent,
  MarkLineComponent, MarkPointComponent, ToolboxComponent, TooltipComponent, VisualMapComponent,
  CanvasRenderer,
]);

export { init, connect, registerTheme };
